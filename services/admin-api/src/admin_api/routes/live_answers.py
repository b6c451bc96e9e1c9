"""Wait for the answers of a campaign inside one HTTP request."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from flotilla_common.contracts.campaigns import CampaignStartedV1, StopCampaignV1
from flotilla_common.errors import FleetError, Unavailable

from admin_api.deps import Deps
from admin_api.domain.campaign_progress import ANSWERS, error_of, rows_of
from admin_api.settings import parse_duration
from admin_api.store.campaign_rows import START, RowsEntry

log = structlog.get_logger()

OUTAGE_SECONDS = 1.0


def wait_seconds(deps: Deps) -> float:
    """Return how long a synchronous live query may wait."""
    return parse_duration(deps.settings.live_query_rest_period)


async def collect(deps: Deps, started: CampaignStartedV1) -> list[RowsEntry]:
    """Return the answers that came in time, as soon as all hosts answered; then the campaign is over.

    Raises:
        Unavailable: Redis does not answer, not even at the end of the time; or answers are lost.

    """
    try:
        return await _read(deps, started)
    finally:
        await _stop(deps, started.campaign_id)


async def _read(deps: Deps, started: CampaignStartedV1) -> list[RowsEntry]:
    loop = asyncio.get_running_loop()
    until = loop.time() + wait_seconds(deps)
    position, answers = START, list[RowsEntry]()
    while len(answers) < started.counts.total and (left := until - loop.time()) > 0:
        try:
            entries = await deps.results.read(started.campaign_id, position, block_ms=int(left * 1000))
        except Unavailable:
            if left <= OUTAGE_SECONDS:
                raise
            await asyncio.sleep(OUTAGE_SECONDS)
            continue
        if any(entry.missing is not None for entry in entries):
            raise Unavailable("answers of this live query are lost")
        answers += [entry for entry in entries if entry.outcome in ANSWERS]
        if entries and entries[-1].is_end:
            break
        position = entries[-1].position if entries else position
    return answers


async def _stop(deps: Deps, campaign_id: int) -> None:
    try:
        await deps.bus.request(StopCampaignV1(campaign_id=campaign_id, reason="complete"))
    except FleetError as error:  # it ends with its wait anyhow
        log.info("campaign could not be stopped early", campaign_id=campaign_id, error=str(error))


def answer_object(entry: RowsEntry) -> dict[str, Any]:
    """Return one host's answer."""
    error = error_of(entry)
    return {"host_id": entry.host_id, "rows": [] if error else rows_of(entry), "error": error or None}
