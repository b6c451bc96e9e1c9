"""Turn what a person selected into a set of hosts: once, when the campaign starts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flotilla_common.contracts.bitmaps import bytes_of
from flotilla_common.contracts.campaigns import StartCampaignV1, TargetCounts
from flotilla_common.contracts.labels import ALL_HOSTS
from opentelemetry import trace
from sqlalchemy.ext.asyncio import AsyncSession

from live_query.errors import NothingTargeted
from live_query.store import targets
from live_query.store.targets import Selection

tracer = trace.get_tracer(__name__)


@dataclass(frozen=True)
class Targets:
    """Host ids, ascending, the same as a serialized bitmap, and their counts by state."""

    host_ids: list[int]
    bitmap: bytes
    counts: TargetCounts


async def resolve(session: AsyncSession, request: StartCampaignV1, *, now: datetime) -> Targets:
    """Return the targets of a request, within the teams that the caller may query.

    Raises:
        NothingTargeted: no host matches.

    """
    with tracer.start_as_current_span("find targets") as span:
        builtin = await targets.builtin_among(session, request.label_ids) if request.label_ids else set()
        host_ids, counts = await targets.find(session, selection_of(request, builtin), request.allowed_team_ids, now)
        span.set_attribute("hosts", len(host_ids))
    if not host_ids:
        raise NothingTargeted
    return Targets(host_ids, bytes_of(host_ids), counts)


def selection_of(request: StartCampaignV1, builtin: set[int]) -> Selection:
    """Split a request's labels by type; an unknown one counts as a regular label without members."""
    return Selection(
        host_ids=request.host_ids,
        builtin_label_ids=tuple(label_id for label_id in request.label_ids if label_id in builtin),
        regular_label_ids=tuple(label_id for label_id in request.label_ids if label_id not in builtin),
        team_ids=request.team_ids,
        everything=ALL_HOSTS in request.label_ids and ALL_HOSTS in builtin,
    )
