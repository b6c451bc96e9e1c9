"""Beside a viewer's answers: what they add up to, whole at first, then what changed, for viewers that ask for it."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import structlog
from flotilla_common.bus import outage
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pyroaring import BitMap64

from admin_api.deps import Deps
from admin_api.domain.aggregate_deltas import Shown, delta
from admin_api.domain.authorize import visible_team_ids
from admin_api.domain.campaign_aggregate import Grouping
from admin_api.domain.campaign_aggregates import Asker, column_of, groupings_of
from admin_api.domain.campaign_progress import message
from admin_api.errors import InvalidArgument
from admin_api.routes.campaign_aggregates import MOST_TOP, TOP, aggregate_now
from admin_api.routes.campaign_sockets import ViewerSocket
from admin_api.routes.campaign_watch import login_of
from admin_api.store.campaign_hosts import sight_of
from admin_api.store.host_scope import VisibleTeams

log = structlog.get_logger()

DELTA_SECONDS = 1.0
SIGHT_SECONDS = 5.0  # so soon a host that left the viewer's sight is counted no more


class _Selection(BaseModel):
    model_config = ConfigDict(strict=True)

    group_by: list[str]
    column: str | None = None
    top: Annotated[int, Field(ge=1, le=MOST_TOP)] = TOP


def _complaint(error: ValidationError | InvalidArgument) -> str:
    if isinstance(error, InvalidArgument):
        return str(error)
    first = error.errors(include_input=False, include_url=False)[0]
    return ": ".join((".".join(str(part) for part in first["loc"]) or "data", first["msg"]))


class AggregateFeed:
    """Feeds one viewer, who may watch the campaign and is checked elsewhere; idle until something is selected."""

    def __init__(self, deps: Deps, socket: ViewerSocket, token: str, campaign_id: int) -> None:
        self._deps = deps
        self._socket = socket
        self._token = token
        self._id = campaign_id
        self._selected = asyncio.Event()
        self._selection: tuple[tuple[Grouping, ...], str | None] = ((), None)
        self._top = TOP
        self._told: Shown | None = None
        self._revision = 0
        self._sight: tuple[VisibleTeams, Asker] = (frozenset(), Asker(0, BitMap64()))
        self._next_look = 0.0

    async def select(self, data: Any) -> None:
        """Take what the viewer wants added up; another selection takes the place of the one before.

        One that makes no sense is told as `aggregate_error` and changes nothing.
        """
        try:
            selection = _Selection.model_validate(data)
            self._selection = groupings_of(selection.group_by), column_of(selection.column)
        except (ValidationError, InvalidArgument) as error:
            await self._socket.send(message("aggregate_error", _complaint(error)))
            return
        self._top = selection.top
        self._told = None
        self._selected.set()

    async def run(self) -> None:
        """Feed until cancelled; a part that is down is waited for."""
        await self._selected.wait()
        while True:
            try:
                await self._tell()
            except outage.kinds() as error:
                log.info("aggregate waits for a part that is down", campaign_id=self._id, error=repr(error))
            await asyncio.sleep(DELTA_SECONDS)

    async def _tell(self) -> None:
        await self._look()
        selection, (teams, sight) = self._selection, self._sight
        groupings, column = selection
        now = await aggregate_now(self._deps, (self._id, groupings, teams, column), sight, top=self._top)
        if selection != self._selection:
            return  # another selection came meanwhile: the next look is at that
        told, self._told = self._told, now
        changes = now if told is None else delta(told, now)
        if changes is None:
            return
        self._revision += 1
        kind = "aggregate" if told is None else "aggregate_delta"
        await self._socket.send(message(kind, {"revision": self._revision, **changes}))

    async def _look(self) -> None:
        """See again which hosts the viewer may see."""
        clock = asyncio.get_running_loop().time
        if clock() < self._next_look:
            return
        viewer = await login_of(self._deps, self._token, prolong=False)
        teams, since = visible_team_ids(viewer), time.monotonic()
        async with self._deps.sessions.begin() as session:
            sight = await sight_of(session, teams)
        self._sight = (teams, Asker(viewer.user_id, sight, since, stays=True))
        self._next_look = clock() + SIGHT_SECONDS
