"""Wait for the answers of a campaign inside one HTTP request, and send them without holding them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence, Set
from typing import Any

import structlog
from flotilla_common.bus import outage
from flotilla_common.contracts.campaigns import CampaignStartedV1, StopCampaignV1
from flotilla_common.errors import FleetError, Unavailable

from admin_api.deps import Deps
from admin_api.domain.answer_rows import each_row
from admin_api.domain.authorize import visible_team_ids
from admin_api.domain.campaign_progress import ANSWERS, RUNS, error_of, standing_data
from admin_api.domain.viewer import Viewer
from admin_api.routes.downloads import patiently
from admin_api.settings import parse_duration
from admin_api.store import campaign_hosts
from admin_api.store import campaigns as campaign_store
from admin_api.store.campaign_results import CampaignResults
from admin_api.store.campaign_rows import MOST_ENTRIES, START, RowsEntry
from admin_api.store.campaigns import Standing

log = structlog.get_logger()

OUTAGE_SECONDS = 1.0
LOOK_SECONDS = 1.0  # between two looks whether hosts are still asked
HELD_BYTES = 256 * 1024  # of rows, from the end of the wait until they are sent; more are read again
LARGE_READ = 1024 * 1024  # bytes of rows; after a larger one the next read takes a single answer


def wait_seconds(deps: Deps) -> float:
    """Return how long a synchronous live query may wait."""
    return parse_duration(deps.settings.live_query_rest_period)


class Answers:
    """The answers of a campaign that came in time, in their order: the first ones, and where to read the others."""

    def __init__(self, results: CampaignResults, campaign_id: int) -> None:
        self._results = results
        self._campaign_id = campaign_id
        self._held: list[RowsEntry] = []
        self._held_bytes = 0
        self._last = START
        self._left_out: frozenset[int] = frozenset()
        self.host_ids: list[int] = []
        self.standing = RUNS

    @property
    def kept_from_asking(self) -> dict[str, Any]:
        """What the API says when the wait ended early: `paused_at` and `pause_reason`, or `halted`, as to viewers."""
        return standing_data(self.standing)

    def add(self, entries: Sequence[RowsEntry]) -> None:
        """Take in what was read."""
        for entry in entries:
            if entry.outcome not in ANSWERS:
                continue
            self._held_bytes += len(entry.rows)
            if self._held_bytes <= HELD_BYTES:
                self._held.append(entry)
            self.host_ids.append(entry.host_id)
            self._last = entry.position

    def leave_out(self, host_ids: Set[int]) -> None:
        """Leave out the answers of some hosts."""
        self._left_out = frozenset(host_ids)
        self.host_ids = [host_id for host_id in self.host_ids if host_id not in self._left_out]

    async def objects(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what the API says of each host; its rows are an iterator.

        Raises:
            Unavailable: an answer cannot be read again.

        """
        number = 0
        for entry in self._held:
            if entry.host_id not in self._left_out:
                yield answer_object(entry)
                number += 1
        place = self._held[-1].position if self._held else START
        async for _, entry in patiently(self._behind, place, begun=True):
            if entry.host_id not in self._left_out:
                yield answer_object(entry)
                number += 1
        if number != len(self.host_ids):
            raise Unavailable(f"campaign {self._campaign_id}: {number} of {len(self.host_ids)} answers are still there")

    async def _behind(self, position: str) -> AsyncIterator[tuple[str, RowsEntry]]:
        count = 1
        while position != self._last:
            entries = await self._results.before(self._campaign_id, position, self._last, count=count)
            if not entries:
                return
            for entry in entries:
                position = entry.position
                if entry.outcome in ANSWERS:
                    yield position, entry
            count = 1 if sum(len(entry.rows) for entry in entries) > LARGE_READ else min(2 * count, MOST_ENTRIES)


async def collect(deps: Deps, viewer: Viewer, started: CampaignStartedV1) -> Answers:
    """Return the answers that came in time, as soon as all hosts answered; then the campaign is over.

    Of one that is paused, or halted with all others, nobody waits for more: hosts are not asked any longer.
    Answers of hosts that the viewer may not see by now, deleted or moved to another team, are left out.

    Raises:
        Unavailable: Redis does not answer, not even at the end of the time; or answers are lost.

    """
    answers = Answers(deps.results, started.campaign_id)
    try:
        await _read(deps, started, answers)
    finally:
        await _stop(deps, started.campaign_id, "stopped" if answers.kept_from_asking else "complete")
    async with deps.sessions.begin() as session:
        host_ids = set(answers.host_ids)
        answers.leave_out(host_ids - set(await campaign_hosts.in_sight(session, host_ids, visible_team_ids(viewer))))
    return answers


async def _read(deps: Deps, started: CampaignStartedV1, answers: Answers) -> None:
    clock = asyncio.get_running_loop().time
    until, next_look = clock() + wait_seconds(deps), clock() + LOOK_SECONDS
    position, idle = START, False
    while len(answers.host_ids) < started.counts.total and (left := until - clock()) > 0:
        if clock() >= next_look:
            answers.standing, idle = await _standing(deps, started.campaign_id), False
            next_look = clock() + LOOK_SECONDS
        if idle and (answers.kept_from_asking or not answers.standing.is_open):
            return
        block = 0.0 if answers.kept_from_asking else min(left, max(next_look - clock(), 0.0))
        try:
            entries = await deps.results.read(started.campaign_id, position, block_ms=int(block * 1000))
        except Unavailable:
            if left <= OUTAGE_SECONDS:
                raise
            await asyncio.sleep(OUTAGE_SECONDS)
            continue
        if any(entry.missing is not None for entry in entries):
            raise Unavailable("answers of this live query are lost")
        answers.add(entries)
        if entries and entries[-1].is_end:
            return
        position, idle = entries[-1].position if entries else position, not entries


async def _standing(deps: Deps, campaign_id: int) -> Standing:
    try:
        async with deps.sessions.begin() as session:
            return await campaign_store.standing(session, campaign_id)
    except outage.kinds() as error:
        log.info("how a live query stands is not known", campaign_id=campaign_id, error=repr(error))
        return RUNS


async def _stop(deps: Deps, campaign_id: int, reason: str) -> None:
    try:
        await deps.bus.request(StopCampaignV1(campaign_id=campaign_id, reason=reason))
    except FleetError as error:  # it ends with its wait anyhow
        log.info("campaign could not be stopped early", campaign_id=campaign_id, error=str(error))


def answer_object(entry: RowsEntry) -> dict[str, Any]:
    """Return one host's answer; its rows come by and by."""
    error = error_of(entry)
    return {"host_id": entry.host_id, "rows": [] if error else each_row(entry.rows), "error": error or None}
