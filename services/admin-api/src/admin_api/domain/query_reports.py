"""Who sees what of a query report: each host by its team."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from admin_api.domain import queries
from admin_api.domain.authorize import visible_team_ids
from admin_api.domain.viewer import Viewer
from admin_api.errors import BadRequest, Forbidden
from admin_api.store import app_config, host_scope, query_reports, targets
from admin_api.store.query_reports import HostReport, Share, Totals

HOSTS_AT_ONCE = 16  # whose rows are in memory together: 1 MiB each at most, as they are stored


@dataclass(frozen=True)
class Report:
    """A report as far as somebody may see it."""

    query_id: int
    where: Sequence[ColumnElement[bool]]

    async def totals(self, session: AsyncSession) -> Totals:
        """Return how much there is."""
        return await query_reports.totals(session, self.query_id, self.where)

    async def page(self, session: AsyncSession, first: int, limit: int) -> list[Share]:
        """Return whose rows are on a page."""
        return await query_reports.page(session, self.query_id, self.where, first, limit)

    async def rows_of(
        self, sessions: async_sessionmaker[AsyncSession], shares: Sequence[Share]
    ) -> AsyncIterator[tuple[HostReport, dict[str, str]]]:
        """Yield the rows of a page, each with its host."""
        for start in range(0, len(shares), HOSTS_AT_ONCE):
            some = {share.host_id: share for share in shares[start : start + HOSTS_AT_ONCE]}
            async with sessions.begin() as session:
                found = await query_reports.of_hosts(session, self.query_id, self.where, some)
            for one in found:
                share = some[one.host_id]
                for row in one.rows[share.first : share.end]:
                    yield one, row

    async def after(
        self, sessions: async_sessionmaker[AsyncSession], host_id: int
    ) -> AsyncIterator[tuple[int, list[HostReport]]]:
        """Yield the reports of hosts beyond this one, some at a time, each time with the last one's id."""
        while True:
            async with sessions.begin() as session:
                found = await query_reports.after(session, self.query_id, self.where, host_id, HOSTS_AT_ONCE)
            if not found:
                return
            host_id = found[-1].host_id
            yield host_id, found


async def visible(session: AsyncSession, viewer: Viewer, query_id: int, team_id: int | None) -> Report:
    """Return a query's report, of the hosts that the viewer may read, or of those of a team (0: of none).

    Raises:
        Forbidden: the viewer may not read the query, or not that team's hosts.
        Missing: there is no such query.
        BadRequest: there is no such team.

    """
    query = await queries.readable(session, viewer, query_id)
    teams = visible_team_ids(viewer)
    where = [host_scope.visible(teams)]
    if team_id is not None:
        if teams is not None and team_id not in teams:
            raise Forbidden
        if team_id != 0 and not await targets.existing_teams(session, [team_id]):
            raise BadRequest(f"team {team_id} does not exist")
        where.append(host_scope.in_team(team_id))
    if (await app_config.once(session)).query_reports_disabled:
        where.append(query_reports.NOTHING)
    return Report(query.id or 0, where)
