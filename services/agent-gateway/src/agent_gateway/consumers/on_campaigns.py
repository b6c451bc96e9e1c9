"""Bucket CAMPAIGNS: commands, settled hosts, ends. All of it is the newest state, so that a repeat changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from flotilla_common.bus.buckets import is_delete, key_of
from flotilla_common.bus.connection import Bus
from flotilla_common.bus.follow import Follower
from flotilla_common.bus.objects import Objects
from flotilla_common.contracts.bitmaps import bitmap_of
from flotilla_common.contracts.campaigns import BUCKET, STORE, CampaignCommand, done_hash_of
from flotilla_common.contracts.streams import bucket_stream, bucket_subject
from flotilla_common.errors import Poison
from nats.aio.msg import Msg
from pyroaring import BitMap

from agent_gateway.domain.campaigns import Campaigns
from agent_gateway.domain.commands import targets_of, verified
from agent_gateway.domain.counters import Counters

log = structlog.get_logger()


def campaigns_follower(
    bus: Bus, campaigns: Campaigns, keys: list[Ed25519PublicKey], counters: Counters, now: Callable[[], float]
) -> Follower:
    """Return the follower that keeps the campaigns true."""
    objects = Objects(bus, STORE)

    async def on_message(message: Msg) -> None:
        try:
            await _take(message, campaigns, keys, objects, now)
        except (Poison, ValueError) as error:
            counters.commands_refused += 1
            log.warning("entry of bucket CAMPAIGNS refused", subject=message.subject, error=str(error))

    async def on_gap() -> None:
        """End what was deleted with the old bucket: what is in the new one comes next."""
        for campaign_id in campaigns.open_ids():
            campaigns.end(campaign_id, now())

    return Follower(bus, bucket_stream(BUCKET), [bucket_subject(BUCKET, ">")], on_message, on_gap=on_gap)


async def _take(
    message: Msg, campaigns: Campaigns, keys: list[Ed25519PublicKey], objects: Objects, now: Callable[[], float]
) -> None:
    number, _, what = key_of(message.subject).partition(".")
    campaign_id = int(number)
    if what == "command" and is_delete(message.headers):
        campaigns.end(campaign_id, message.metadata.timestamp.replace(tzinfo=UTC).timestamp())
    elif what == "command":
        command = verified(message.data, campaign_id, keys)
        targets = await _targets(command, campaigns, objects)
        campaigns.start(command, targets, now())
        log.info("campaign", campaign_id=campaign_id, hosts=len(targets), trace_id=command.trace)
    elif what == "done" and not is_delete(message.headers):
        name = done_hash_of(message.data)
        done = message.data if name is None else await objects.get(name)
        if done is not None:  # a newer set has taken the place of one that is gone, and comes next
            campaigns.settle(campaign_id, bitmap_of(done))


async def _targets(command: CampaignCommand, campaigns: Campaigns, objects: Objects) -> BitMap:
    """Fetch large targets, once for all campaigns with the same; the object store hands out only what has the hash."""
    name = command.targets_hash
    known = campaigns.targets_by_hash(name) if name else None
    if known is not None:
        return known
    return targets_of(command, await objects.get(name) if name else None)
