"""log_shipper.{dead_letters,dead_letter,replay_dead_letters,discard_dead_letters}.v1: what was refused for good."""

from __future__ import annotations

from typing import Any

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.log_dead_letters import (
    DeadLetter,
    DeadLetterAnsweredV1,
    DeadLettersAnsweredV1,
    DeadLettersV1,
    DeadLetterV1,
    DiscardDeadLettersV1,
    LetterChoice,
    LettersTouchedV1,
    ReplayDeadLettersV1,
)
from flotilla_common.db.models.log_shipper import DeadLetter as Row
from flotilla_common.errors import Invalid, NotFound

from log_shipper.deps import Deps
from log_shipper.domain.dead_letters import lines_of
from log_shipper.store import dead_letters, destinations
from log_shipper.store.dead_letters import Choice

SHOWN_LINES = 100
SHOWN_BYTES = 256 * 1024
AT_ONCE = 500


async def show_page(request: DeadLettersV1, deps: Deps) -> DeadLettersAnsweredV1:
    """Return a page."""
    choice = _choice(request.choice)
    async with deps.sessions.begin() as session:
        count, lines = await dead_letters.count(session, choice)
        rows = await dead_letters.page(session, choice, request.after_id, request.most)
    return DeadLettersAnsweredV1(letters=tuple(_letter(row) for row in rows), count=count, lines=lines)


async def show(request: DeadLetterV1, deps: Deps) -> DeadLetterAnsweredV1:
    """Return a letter with its lines, not too many of them."""
    async with deps.sessions.begin() as session:
        rows = await dead_letters.by_ids(session, [request.id])
    if not rows:
        raise NotFound(f"there is no dead letter {request.id}")
    row = rows[0]
    lines = lines_of(row.is_readable, await dead_letters.read(deps.bus, row.dead_sequences))
    shown: list[str] = []
    left = SHOWN_BYTES
    for line in lines[:SHOWN_LINES]:
        shown.append(line[:left].decode(errors="replace"))
        left -= len(line)
        if left <= 0:
            break
    is_cut = len(shown) < len(lines) or left < 0
    return DeadLetterAnsweredV1(letter=_letter(row), contents=tuple(shown), is_cut=is_cut)


async def replay(request: ReplayDeadLettersV1, deps: Deps) -> LettersTouchedV1:
    """Have letters tried again; their destination's worker does it within seconds."""
    choice = _choice(request.choice)
    async with deps.sessions.begin() as session:
        there = {row.name for row in await destinations.all_rows(session) if row.until_sequence is None}
        gone = await dead_letters.destinations_of(session, choice) - there
        if gone:
            raise Invalid(f"there is no destination {', '.join(sorted(gone))} any more; make it again, or discard them")
        count, lines = await dead_letters.ask_again(session, choice)
    return LettersTouchedV1(count=count, lines=lines)


async def discard(request: DiscardDeadLettersV1, deps: Deps) -> LettersTouchedV1:
    """Throw letters away: first the rows, so that nobody finds them, then what they hold."""
    choice, count, lines = _choice(request.choice), 0, 0
    while True:
        async with deps.sessions.begin() as session:
            taken = await dead_letters.take(session, choice, AT_ONCE)
        await dead_letters.free(deps.bus, [sequence for row in taken for sequence in row.dead_sequences])
        count += len(taken)
        lines += sum(row.lines for row in taken)
        if len(taken) < AT_ONCE:
            return LettersTouchedV1(count=count, lines=lines)


def _choice(choice: LetterChoice) -> Choice:
    return Choice(choice.ids, choice.destination, choice.log_type, choice.reason)


def _letter(row: Row) -> DeadLetter:
    return DeadLetter.model_validate(row, from_attributes=True)


RESPONDERS: tuple[Responder[Any, Deps], ...] = (
    Responder(DeadLettersV1, show_page, concurrency=4),
    Responder(DeadLetterV1, show, concurrency=4),
    Responder(ReplayDeadLettersV1, replay, concurrency=4),
    Responder(DiscardDeadLettersV1, discard, concurrency=2),
)
