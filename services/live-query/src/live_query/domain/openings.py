"""Broad campaigns are told to gateways before their ledgers are written: 100,000 rows take most of a second.

What is told is durable first, as an opening: whatever happens in between, somebody finishes it. Until then it is no
campaign for anybody: who sees one sees its whole ledger. Answers that come earlier wait for it.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from flotilla_common.contracts.bitmaps import bitmap_of
from flotilla_common.contracts.campaigns import (
    CampaignCommand,
    CampaignStartedV1,
    StartCampaignV1,
    TargetCounts,
    split_command,
)
from flotilla_common.db.models.live_query import Opening
from sqlalchemy.ext.asyncio import AsyncSession

from live_query.domain.campaigns import Draft, enter
from live_query.errors import BadCampaign
from live_query.store import campaigns, openings

BROAD_HOSTS = 4096
"""The rows of as many take a few hundredths of a second: then it is not worth a second transaction."""
SELECTION = frozenset({"host_ids", "label_ids", "team_ids"})
_decoder = msgspec.json.Decoder(CampaignCommand)


def is_told_first(draft: Draft) -> bool:
    """Whether gateways are told before the ledger is written.

    Not with targets in the object store, which are found by the ledger when they are lost; and nobody is in a hurry to
    ask so many hosts at a time.
    """
    return len(draft.host_ids) > BROAD_HOSTS and not draft.command.targets_hash and not draft.command.ramped


async def begin(session: AsyncSession, draft: Draft) -> None:
    """Write what it takes to finish this campaign."""
    opening = Opening(
        campaign_id=draft.command.campaign_id,
        request_id=draft.request.request_id,
        request=draft.request.model_dump(mode="json", exclude=set(SELECTION)),
        command=draft.signed,
        counts=draft.counts.model_dump(),
        created_at=draft.created_at,
    )
    await openings.add(session, opening)


async def finish(session: AsyncSession, campaign_ids: Collection[int]) -> int:
    """Write campaigns and ledgers of those of these that are being opened; return how many there were.

    Whoever is at it already is waited for.
    """
    found = await openings.take(session, campaign_ids)
    for opening in found:
        await enter(session, _draft_of(opening))
        await openings.remove(session, opening.campaign_id)
    return len(found)


async def started_before(session: AsyncSession, request: StartCampaignV1) -> CampaignStartedV1 | None:
    """Return the answer to an earlier request with the same id; None when there was none.

    Whoever repeats a request that is still being worked on waits here for its end.

    Raises:
        BadCampaign: the id is that of another campaign.

    """
    if request.request_id is None:
        return None
    await campaigns.seize_request(session, request.request_id)
    if not await openings.is_known(session, request.request_id):
        return None
    opening = await openings.by_request(session, request.request_id)
    if opening is not None:
        await finish(session, [opening])
    campaign = await campaigns.by_request(session, request.request_id)
    if campaign is None:
        return None
    if (campaign.user_id, campaign.sql, campaign.kind) != (request.user_id, request.sql, request.kind):
        raise BadCampaign("another campaign was started under this request id")
    counts = TargetCounts.model_validate(campaign.counts)
    return CampaignStartedV1(campaign_id=campaign.id or 0, created_at=campaign.created_at, counts=counts)


def _draft_of(opening: Opening) -> Draft:
    command = _decoder.decode(split_command(opening.command)[1])
    return Draft(
        request=StartCampaignV1.model_validate(opening.request),
        command=command,
        signed=opening.command,
        host_ids=list(bitmap_of(command.targets)),
        counts=TargetCounts.model_validate(opening.counts),
        created_at=opening.created_at,
    )
