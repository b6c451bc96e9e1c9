"""Where logs go, and the books of what went there: /logs/destinations and /logs/ledger (an addition to Fleet's API).

log-shipper keeps both. A destination's secrets go in and never come out: they are shown as a mask, and a mask that is
sent back keeps what there is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Query
from flotilla_common.contracts.log_destinations import (
    DestinationsAnsweredV1,
    DestinationState,
    DestinationsV1,
    PauseDestinationV1,
    PutDestinationV1,
    RemoveDestinationV1,
    TryDestinationV1,
)
from flotilla_common.contracts.log_ledger import LogLedgerV1
from pydantic import SecretStr

from admin_api.deps import Deps, DepsDep
from admin_api.domain import activities
from admin_api.domain.authorize import Action, authorize
from admin_api.domain.strict_merge import merge
from admin_api.domain.viewer import Viewer
from admin_api.errors import InvalidArgument, Missing
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.bodies import RawObject
from admin_api.routes.log_replays import span_of
from admin_api.routes.times import time_of
from admin_api.routes.versions import members_router

router = members_router("logs")

MEMBERS = ("name", "kind", "settings", "filter", "batch", "rate", "retry", "backlog")


@router.get("/logs/ledger")
async def get_ledger(
    deps: DepsDep,
    viewer: ViewerDep,
    since: Annotated[str, Query(description="per hour of custody (UTC), from this RFC 3339 time on")] = "",
) -> dict[str, Any]:
    """Show, per destination and log type, in lines: received = filtered + delivered + dead_lettered + pending.

    `duplicates` stand beside: lines delivered once more than needed, or perhaps so. With `since` each hour is shown
    that has lines. `host_losses`: lines that hosts say they threw away before anybody had them, a lower bound.
    """
    authorize(viewer, Action.READ_LOG_LEDGER)
    answer = await deps.bus.request(LogLedgerV1(since=time_of(since, "since") if since else None))
    left_out = set() if since else {"hour"}
    return {
        "ledger": [entry.model_dump(exclude=left_out) for entry in answer.entries],
        "host_losses": answer.host_losses.model_dump(),
    }


@router.get("/logs/destinations")
async def list_destinations(deps: DepsDep, viewer: ViewerDep) -> dict[str, Any]:
    """List the destinations, and the kinds that there are with the JSON schema of their settings."""
    authorize(viewer, Action.READ_LOG_DESTINATIONS)
    answer = await _all(deps)
    return {"destinations": [_object(one) for one in answer.destinations], "kinds": answer.kinds}


@router.post("/logs/destinations")
async def create_destination(deps: DepsDep, viewer: ViewerDep, body: RawObject) -> dict[str, Any]:
    """Make a destination. It gets the lines that come from now on; with `begin`, all that is kept from there on.

    `begin` is `{"from_time": "2026-11-24T05:00:00Z"}` or `{"from_sequence": 1}`.
    """
    authorize(viewer, Action.WRITE_LOG_DESTINATIONS)
    begin = None if body.get("begin") is None else span_of(body["begin"], "begin")
    document = _document({name: value for name, value in body.items() if name != "begin"})
    answer = await deps.bus.request(PutDestinationV1(document=document, is_new=True, begin=begin))
    return await _done(deps, viewer, "created_log_destination", answer.destination)


@router.post("/logs/destinations/test")
async def try_unmade(deps: DepsDep, viewer: ViewerDep, body: RawObject) -> dict[str, Any]:
    """Send one line with settings that are not kept, and report."""
    authorize(viewer, Action.WRITE_LOG_DESTINATIONS)
    return await _try(deps, TryDestinationV1(document=_document(body)))


@router.get("/logs/destinations/{destination}")
async def get_destination(deps: DepsDep, viewer: ViewerDep, destination: str) -> dict[str, Any]:
    """Show a destination."""
    authorize(viewer, Action.READ_LOG_DESTINATIONS)
    return {"destination": _object(await _find(deps, destination))}


@router.patch("/logs/destinations/{destination}")
async def change_destination(deps: DepsDep, viewer: ViewerDep, destination: str, body: RawObject) -> dict[str, Any]:
    """Change the members that are given, those of blocks one by one; null is the default. Effective in two seconds."""
    authorize(viewer, Action.WRITE_LOG_DESTINATIONS)
    before = await _find(deps, destination)
    spec = {name: before.spec[name] for name in MEMBERS if name in before.spec}
    document = _without_nulls(merge(spec, _known(body)))
    for name, unchanging in (("name", before.name), ("kind", before.kind)):
        if document.get(name) != unchanging:
            raise InvalidArgument(name, "cannot be changed; make another destination")
    request = PutDestinationV1(document=_document(document), is_new=False, revision=before.revision)
    return await _done(deps, viewer, "edited_log_destination", (await deps.bus.request(request)).destination)


@router.delete("/logs/destinations/{destination}")
async def delete_destination(deps: DepsDep, viewer: ViewerDep, destination: str) -> dict[str, Any]:
    """Take a destination away. What it lacks counts as filtered; its books stay."""
    authorize(viewer, Action.WRITE_LOG_DESTINATIONS)
    answer = await deps.bus.request(RemoveDestinationV1(name=destination))
    await _done(deps, viewer, "deleted_log_destination", answer.destination)
    return {}


@router.post("/logs/destinations/{destination}/pause")
async def pause_destination(deps: DepsDep, viewer: ViewerDep, destination: str) -> dict[str, Any]:
    """Stop deliveries; lines wait."""
    authorize(viewer, Action.WRITE_LOG_DESTINATIONS)
    answer = await deps.bus.request(PauseDestinationV1(name=destination, is_paused=True))
    return await _done(deps, viewer, "paused_log_destination", answer.destination)


@router.post("/logs/destinations/{destination}/resume")
async def resume_destination(deps: DepsDep, viewer: ViewerDep, destination: str) -> dict[str, Any]:
    """Let deliveries go on where they stopped."""
    authorize(viewer, Action.WRITE_LOG_DESTINATIONS)
    answer = await deps.bus.request(PauseDestinationV1(name=destination, is_paused=False))
    return await _done(deps, viewer, "resumed_log_destination", answer.destination)


@router.post("/logs/destinations/{destination}/test")
async def try_destination(deps: DepsDep, viewer: ViewerDep, destination: str) -> dict[str, Any]:
    """Send one line to a destination, and report."""
    authorize(viewer, Action.WRITE_LOG_DESTINATIONS)
    return await _try(deps, TryDestinationV1(name=destination))


def _without_nulls(document: dict[str, Any]) -> dict[str, Any]:
    """Return what is said of a destination: null is the default, as if it were not there."""
    said = {name: value for name, value in document.items() if value is not None}
    return {name: _without_nulls(value) if isinstance(value, dict) else value for name, value in said.items()}


def _document(body: Mapping[str, Any]) -> SecretStr:
    return SecretStr(json.dumps(_known(body)))


def _known(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that can be set. What only is shown may be sent back; anything else is a mistake.

    Raises:
        InvalidArgument: a member that nobody knows.

    """
    for name in body:
        if name not in MEMBERS and name not in SHOWN:
            raise InvalidArgument(name, f"is no member of a destination; there are {', '.join(MEMBERS)}")
    return {name: body[name] for name in MEMBERS if name in body}


SHOWN = ("origin", "status", "revision", "created_at", "paused_at", "failing_since", "last_error")


def _object(state: DestinationState) -> dict[str, Any]:
    """Return a destination as the API shows it."""
    return {
        **state.spec,
        "name": state.name,
        "kind": state.kind,
        "origin": state.origin,
        "status": _status(state),
        "revision": state.revision,
        "created_at": state.created_at,
        "paused_at": state.paused_at,
        "failing_since": state.failing_since,
        "last_error": state.last_error,
    }


def _status(state: DestinationState) -> str:
    if state.is_undeclared:
        return "undeclared"
    if state.paused_at is not None:
        return "paused"
    return "delivering" if state.failing_since is None else "failing"


async def _all(deps: Deps) -> DestinationsAnsweredV1:
    return await deps.bus.request(DestinationsV1())


async def _find(deps: Deps, name: str) -> DestinationState:
    found = next((one for one in (await _all(deps)).destinations if one.name == name), None)
    if found is None:
        raise Missing("Log destination", name)
    return found


async def _done(deps: Deps, viewer: Viewer, activity: str, state: DestinationState) -> dict[str, Any]:
    """Record the deed, and answer with what came of it."""
    async with deps.sessions.begin() as session:
        await activities.record(session, viewer, activity, {"name": state.name, "kind": state.kind})
    return {"destination": _object(state)}


async def _try(deps: Deps, request: TryDestinationV1) -> dict[str, Any]:
    answer = await deps.bus.request(request)
    return {
        "test": {
            "ok": not answer.error, "error": answer.error, "place": answer.place, "milliseconds": answer.milliseconds,
        }
    }  # fmt: skip
