"""log_shipper.{replay,replays,stop_replay}.v1: parts of the stream once more."""

from __future__ import annotations

from typing import Any

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.log_replays import (
    Replay,
    ReplayAnsweredV1,
    ReplaysAnsweredV1,
    ReplaysV1,
    ReplayV1,
    StopReplayV1,
)
from flotilla_common.db.models.log_shipper import Replay as Row
from flotilla_common.errors import Invalid, NotFound

from log_shipper.deps import Deps
from log_shipper.store import destinations, leases, replays
from log_shipper.store.spans import begin_of, kept, last_before


async def start(request: ReplayV1, deps: Deps) -> ReplayAnsweredV1:
    """Begin a replay; its destination's worker goes on with it within seconds, beside new lines."""
    async with deps.sessions.begin() as session:
        await leases.take_turns(session, leases.THROWING_AWAY)
        row = await destinations.find(session, request.destination)
        if row is None:
            raise NotFound(f"there is no destination {request.destination}")
        here = await kept(session, deps.bus)
        first, is_whole = await begin_of(deps.bus, here, request.span)
        last = min(await last_before(deps.bus, here, request.span), row.cursor_sequence)
        if last < first:
            raise Invalid("nothing of that is kept and was delivered; what is still to come needs no replay")
        made = await replays.add(session, request.destination, first, last)
        return ReplayAnsweredV1(replay=_replay(made), is_whole=is_whole)


async def show_all(request: ReplaysV1, deps: Deps) -> ReplaysAnsweredV1:
    """Return all replays, and from where there can be one."""
    del request
    async with deps.sessions.begin() as session:
        rows = await replays.all_rows(session)
        here = await kept(session, deps.bus)
    return ReplaysAnsweredV1(
        replays=tuple(map(_replay, rows)), oldest_sequence=here.first_sequence, oldest_time=here.first_stored_at
    )


async def stop(request: StopReplayV1, deps: Deps) -> ReplayAnsweredV1:
    """End a replay; repeating it changes nothing."""
    async with deps.sessions.begin() as session:
        await replays.end(session, request.id, is_cancelled=True)
        row = await replays.find(session, request.id)
        if row is None:
            raise NotFound(f"there is no replay {request.id}")
        return ReplayAnsweredV1(replay=_replay(row))


def _replay(row: Row) -> Replay:
    return Replay.model_validate(row, from_attributes=True)


RESPONDERS: tuple[Responder[Any, Deps], ...] = (
    Responder(ReplayV1, start, concurrency=2),
    Responder(ReplaysV1, show_all, concurrency=4),
    Responder(StopReplayV1, stop, concurrency=4),
)
