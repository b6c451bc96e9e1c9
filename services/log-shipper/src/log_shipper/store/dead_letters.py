"""Dead letters: the rows of `log_shipper.dead_letters`, and their lines in stream DEAD.

A letter is published before its row is written. A crash between leaves a message that no row names; a retry publishes
it again. `orphans` finds those.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import nats.js.errors
from flotilla_common.bus.connection import PUBLISH_TIMEOUT_SECONDS, Bus
from flotilla_common.contracts.logs import STREAM
from flotilla_common.db.models.log_shipper import DeadLetter
from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from log_shipper.store.stream import StoredMessage

DEAD = "DEAD"
PART_BYTES = 4 * 1024 * 1024  # a message of the largest size does not fit again with more headers


@dataclass(frozen=True)
class Letter:
    """A dead letter before it is written down."""

    message: StoredMessage
    lines: int
    reason: str
    body: bytes
    is_readable: bool = True  # else `body` is what the message held, and can never be delivered
    dead_sequences: tuple[int, ...] = ()


async def bury(bus: Bus, destination: str, batch_id: int, letter: Letter) -> Letter:
    """Publish a letter to stream DEAD and wait for the acks; return it with its places there.

    Raises an outage's error when DEAD does not take it: then the batch must wait.
    """
    body, sequences = letter.body, []
    parts = [body[start : start + PART_BYTES] for start in range(0, len(body), PART_BYTES)] or [b""]
    identity = f"{letter.message.sequence} {letter.reason}\0".encode()
    digest = hashlib.sha256(identity + body).hexdigest()
    for number, part in enumerate(parts, 1):
        headers = {
            "Reason": letter.reason,
            "Destination": destination,
            "Original-Subject": letter.message.subject,
            "Original-Sequence": str(letter.message.sequence),
            "Part": f"{number}/{len(parts)}",
            "Nats-Msg-Id": f"{STREAM}-{destination}-{batch_id}-{digest}-{number}",
        }
        done = await bus.js.publish(f"dead.{STREAM}", part, timeout=PUBLISH_TIMEOUT_SECONDS, headers=headers)
        sequences.append(done.seq)
    return replace(letter, dead_sequences=tuple(sequences))


async def read(bus: Bus, sequences: Sequence[int]) -> bytes | None:
    """Return what was buried in these messages; None when one is not there any more."""
    parts: list[bytes] = []
    for sequence in sequences:
        try:
            found = await bus.js.get_msg(DEAD, sequence)
        except nats.js.errors.NotFoundError:
            return None
        parts.append(found.data or b"")
    return b"".join(parts)


async def free(bus: Bus, sequences: Iterable[int]) -> None:
    """Delete messages of stream DEAD; those that are gone are passed over."""
    for sequence in sequences:
        try:
            await bus.js.delete_msg(DEAD, sequence)
        except nats.js.errors.NotFoundError:
            continue


async def add(session: AsyncSession, destination: str, letters: Iterable[Letter]) -> None:
    """Write down buried letters."""
    for letter in letters:
        message = letter.message
        session.add(
            DeadLetter(
                destination=destination,
                log_type=message.log_type,
                hour=message.hour,
                sequence=message.sequence,
                lines=letter.lines,
                size_bytes=len(letter.body),
                reason=letter.reason,
                is_readable=letter.is_readable,
                dead_sequences=list(letter.dead_sequences),
            )
        )
    await session.flush()


async def remove(session: AsyncSession, ids: Sequence[int]) -> None:
    """Delete the rows of letters."""
    await session.execute(delete(DeadLetter).where(col(DeadLetter.id).in_(ids)))


@dataclass(frozen=True)
class Choice:
    """Which letters are meant: those that match every member that is given."""

    ids: Sequence[int] | None = None
    destination: str | None = None
    log_type: str | None = None
    reason: str | None = None

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the choice as conditions."""
        found: list[Any] = [] if self.ids is None else [col(DeadLetter.id).in_(self.ids)]
        for column, value in (
            (col(DeadLetter.destination), self.destination),
            (col(DeadLetter.log_type), self.log_type),
            (col(DeadLetter.reason), self.reason),
        ):
            found += [] if value is None else [column == value]
        return found


async def page(session: AsyncSession, choice: Choice, after_id: int, most: int) -> Sequence[DeadLetter]:
    """Return the chosen letters behind an id, in the order in which they died."""
    found = await session.execute(
        select(DeadLetter)
        .where(*choice.conditions, col(DeadLetter.id) > after_id)
        .order_by(col(DeadLetter.id))
        .limit(most)
    )
    return found.scalars().all()


async def count(session: AsyncSession, choice: Choice) -> tuple[int, int]:
    """Return how many letters are chosen, and their lines."""
    found = await session.execute(
        select(func.count(), func.coalesce(func.sum(col(DeadLetter.lines)), 0)).where(*choice.conditions)
    )
    letters, lines = found.one()
    return int(letters), int(lines)


async def destinations_of(session: AsyncSession, choice: Choice) -> set[str]:
    """Return the destinations of the chosen letters."""
    found = await session.execute(select(col(DeadLetter.destination)).where(*choice.conditions).distinct())
    return set(found.scalars())


async def ask_again(session: AsyncSession, choice: Choice) -> tuple[int, int]:
    """Have the chosen letters tried again that can be read; return how many, and their lines."""
    done = await session.execute(
        update(DeadLetter)
        .where(*choice.conditions, col(DeadLetter.is_readable), col(DeadLetter.replay_asked_at).is_(None))
        .values(replay_asked_at=func.now())
        .returning(col(DeadLetter.lines))
    )
    lines = [int(row[0]) for row in done]
    return len(lines), sum(lines)


async def take(session: AsyncSession, choice: Choice, most: int) -> Sequence[DeadLetter]:
    """Delete the rows of some chosen letters that are not being tried again, and return them."""
    chosen = (
        select(col(DeadLetter.id))
        .where(*choice.conditions, col(DeadLetter.replay_asked_at).is_(None))
        .order_by(col(DeadLetter.id))
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    done = await session.execute(delete(DeadLetter).where(col(DeadLetter.id).in_(chosen)).returning(DeadLetter))
    return done.scalars().all()


async def ask_no_more(session: AsyncSession, destination: str) -> None:
    """Have no letter of a destination tried again: it is gone."""
    await session.execute(
        update(DeadLetter).where(col(DeadLetter.destination) == destination).values(replay_asked_at=None)
    )


async def give_up(session: AsyncSession, letter_id: int, reason: str) -> None:
    """Note that a letter can never be tried again, and why."""
    await session.execute(
        update(DeadLetter)
        .where(col(DeadLetter.id) == letter_id)
        .values(is_readable=False, replay_asked_at=None, reason=func.left(col(DeadLetter.reason) + f" ({reason})", 600))
    )


async def asked(session: AsyncSession, destination: str, most: int) -> Sequence[DeadLetter]:
    """Return letters that are to be tried again, oldest first."""
    found = await session.execute(
        select(DeadLetter)
        .where(col(DeadLetter.destination) == destination, col(DeadLetter.replay_asked_at).is_not(None))
        .order_by(col(DeadLetter.id))
        .limit(most)
    )
    return found.scalars().all()


async def by_ids(session: AsyncSession, ids: Sequence[int]) -> Sequence[DeadLetter]:
    """Return letters by their ids."""
    found = await session.execute(select(DeadLetter).where(col(DeadLetter.id).in_(ids)).order_by(col(DeadLetter.id)))
    return found.scalars().all()
