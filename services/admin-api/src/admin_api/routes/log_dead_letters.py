"""Lines that a log destination refused for good: /logs/dead_letters (an addition to Fleet's API).

log-shipper keeps them. They hold what hosts sent: only who may read all of that sees them.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from flotilla_common.contracts.log_dead_letters import (
    MOST_IDS,
    MOST_ON_A_PAGE,
    DeadLettersV1,
    DeadLetterV1,
    DiscardDeadLettersV1,
    LetterChoice,
    LettersTouchedV1,
    ReplayDeadLettersV1,
)

from admin_api.deps import Deps, DepsDep
from admin_api.domain import activities
from admin_api.domain.authorize import Action, authorize
from admin_api.domain.viewer import Viewer
from admin_api.errors import InvalidArgument
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.bodies import RawObject
from admin_api.routes.versions import Id, members_router

router = members_router("logs")

Text = Annotated[str | None, Query(max_length=600)]


@router.get("/logs/dead_letters")
async def list_letters(
    deps: DepsDep,
    viewer: ViewerDep,
    destination: Text = None,
    log_type: Text = None,
    reason: Text = None,
    after: Annotated[int, Query(ge=0, description="id of the last letter of the page before")] = 0,
    per_page: Annotated[int, Query(ge=1, le=MOST_ON_A_PAGE)] = 100,
) -> dict[str, Any]:
    """List dead letters, oldest first; `count` and `lines` are of all that match."""
    authorize(viewer, Action.READ_DEAD_LETTERS)
    choice = LetterChoice(destination=destination, log_type=log_type, reason=reason)
    answer = await deps.bus.request(DeadLettersV1(choice=choice, after_id=after, most=per_page))
    return {
        "dead_letters": [letter.model_dump() for letter in answer.letters],
        "count": answer.count,
        "lines": answer.lines,
    }


@router.get("/logs/dead_letters/{letter_id:int}")
async def get_letter(deps: DepsDep, viewer: ViewerDep, letter_id: Id) -> dict[str, Any]:
    """Show a dead letter with its lines, 100 of them or 256 KiB at most."""
    authorize(viewer, Action.READ_DEAD_LETTERS)
    answer = await deps.bus.request(DeadLetterV1(id=letter_id))
    shown = {"contents": answer.contents, "is_cut": answer.is_cut}
    return {"dead_letter": answer.letter.model_dump() | shown}


@router.post("/logs/dead_letters/replay")
async def replay_letters(deps: DepsDep, viewer: ViewerDep, body: RawObject) -> dict[str, Any]:
    """Try letters again: those with `ids`, or all of a `destination`, a `log_type`, a `reason`."""
    authorize(viewer, Action.WRITE_DEAD_LETTERS)
    choice = _choice(body)
    answer = await deps.bus.request(ReplayDeadLettersV1(choice=choice))
    return await _done(deps, viewer, "replayed_log_dead_letters", choice, answer)


@router.post("/logs/dead_letters/discard")
async def discard_letters(deps: DepsDep, viewer: ViewerDep, body: RawObject) -> dict[str, Any]:
    """Throw letters away: those with `ids`, or all of a `destination`, a `log_type`, a `reason`."""
    authorize(viewer, Action.WRITE_DEAD_LETTERS)
    choice = _choice(body)
    answer = await deps.bus.request(DiscardDeadLettersV1(choice=choice))
    return await _done(deps, viewer, "discarded_log_dead_letters", choice, answer)


def _choice(body: dict[str, Any]) -> LetterChoice:
    """Return which letters a body means.

    Raises:
        InvalidArgument: it means all of them without saying so, or has a member that nobody knows.

    """
    for name in body:
        if name not in LetterChoice.model_fields:
            raise InvalidArgument(name, f"is unknown; there are {', '.join(LetterChoice.model_fields)}")
    ids = body.get("ids")
    if ids is None and not isinstance(body.get("destination"), str):
        raise InvalidArgument("ids", "say which: ids, or the destination whose letters are meant")
    is_list = isinstance(ids, list) and len(ids) <= MOST_IDS and all(type(one) is int for one in ids)
    if ids is not None and not is_list:
        raise InvalidArgument("ids", f"must be a list of at most {MOST_IDS} ids, which are whole numbers")
    for name in ("destination", "log_type", "reason"):
        if not isinstance(body.get(name), str | None):
            raise InvalidArgument(name, "must be text")
    return LetterChoice.model_validate(body)


async def _done(
    deps: Deps, viewer: Viewer, activity: str, choice: LetterChoice, answer: LettersTouchedV1
) -> dict[str, Any]:
    """Record the deed, and answer with what came of it."""
    details = choice.model_dump(mode="json", exclude_none=True) | {"count": answer.count, "lines": answer.lines}
    async with deps.sessions.begin() as session:
        await activities.record(session, viewer, activity, details)
    return {"count": answer.count, "lines": answer.lines}
