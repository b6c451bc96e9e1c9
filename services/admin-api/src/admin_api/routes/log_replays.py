"""Parts of the logs once more for a destination: /logs/replays (an addition to Fleet's API). log-shipper does them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flotilla_common.contracts.log_replays import Replay, ReplaysV1, ReplayV1, Span, StopReplayV1

from admin_api.deps import Deps, DepsDep
from admin_api.domain import activities
from admin_api.domain.authorize import Action, authorize
from admin_api.domain.viewer import Viewer
from admin_api.errors import InvalidArgument
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.bodies import RawObject
from admin_api.routes.times import time_of
from admin_api.routes.versions import Id, members_router

router = members_router("logs")

TIMES = ("from_time", "to_time")
SEQUENCES = ("from_sequence", "to_sequence")


@router.get("/logs/replays")
async def list_replays(deps: DepsDep, viewer: ViewerDep) -> dict[str, Any]:
    """List replays, newest first, and from where there can be one (null: nothing is kept)."""
    authorize(viewer, Action.READ_LOG_DESTINATIONS)
    answer = await deps.bus.request(ReplaysV1())
    return {
        "replays": [_object(one) for one in answer.replays],
        "oldest_sequence": answer.oldest_sequence,
        "oldest_time": answer.oldest_time,
    }


@router.post("/logs/destinations/{destination}/replay")
async def start_replay(deps: DepsDep, viewer: ViewerDep, destination: str, body: RawObject) -> dict[str, Any]:
    """Send what came since `from_time` or `from_sequence` once more, up to `to_time` or `to_sequence` if given.

    New lines are delivered meanwhile. What is sent again counts as duplicates. `is_whole` is false when the beginning
    is not kept any more.
    """
    authorize(viewer, Action.WRITE_LOG_REPLAYS)
    answer = await deps.bus.request(ReplayV1(destination=destination, span=span_of(body, "")))
    await _record(deps, viewer, "started_log_replay", answer.replay)
    return {"replay": _object(answer.replay), "is_whole": answer.is_whole}


@router.delete("/logs/replays/{replay_id:int}")
async def stop_replay(deps: DepsDep, viewer: ViewerDep, replay_id: Id) -> dict[str, Any]:
    """End a replay where it is."""
    authorize(viewer, Action.WRITE_LOG_REPLAYS)
    answer = await deps.bus.request(StopReplayV1(id=replay_id))
    await _record(deps, viewer, "stopped_log_replay", answer.replay)
    return {"replay": _object(answer.replay)}


def span_of(body: Any, inside: str) -> Span:
    """Return the span that a body's member says.

    Raises:
        InvalidArgument: it is none.

    """
    prefix = f"{inside}." if inside else ""
    if not isinstance(body, dict):
        raise InvalidArgument(inside, "must be an object")
    found: dict[str, datetime | int] = {}
    for name, value in body.items():
        if name in TIMES and isinstance(value, str):
            found[name] = time_of(value, f"{prefix}{name}")
        elif name in SEQUENCES and type(value) is int:
            found[name] = value
        elif value is not None or name not in (*TIMES, *SEQUENCES):
            kinds = f"there are {', '.join(TIMES)} (RFC 3339) and {', '.join(SEQUENCES)} (whole numbers)"
            raise InvalidArgument(f"{prefix}{name}", kinds)
    for first, last in (TIMES, SEQUENCES):
        if first in found and last in found and found[last] < found[first]:  # type: ignore[operator]  # of one kind
            raise InvalidArgument(f"{prefix}{last}", f"is before {first}")
    return Span.model_validate(found)


def _object(replay: Replay) -> dict[str, Any]:
    ended = "cancelled" if replay.is_cancelled else "done"
    return replay.model_dump(exclude={"is_cancelled"}) | {"status": "running" if replay.ended_at is None else ended}


async def _record(deps: Deps, viewer: Viewer, activity: str, replay: Replay) -> None:
    details = {
        "replay_id": replay.id,
        "name": replay.destination,
        "first_sequence": replay.first_sequence,
        "last_sequence": replay.last_sequence,
    }
    async with deps.sessions.begin() as session:
        await activities.record(session, viewer, activity, details)
