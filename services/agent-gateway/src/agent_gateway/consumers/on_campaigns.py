"""Bucket CAMPAIGNS: commands, settled hosts, ends. All of it is the newest state, so that a repeat changes nothing."""

from __future__ import annotations

from datetime import UTC

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from flotilla_common.bus.buckets import is_delete, key_of
from flotilla_common.bus.connection import Bus
from flotilla_common.bus.follow import Follower
from flotilla_common.bus.objects import Objects
from flotilla_common.contracts.bitmaps import bitmap_of
from flotilla_common.contracts.campaigns import BUCKET, STORE, SWITCH_KEY, done_hash_of
from flotilla_common.contracts.streams import bucket_stream, bucket_subject
from flotilla_common.errors import Poison
from nats.aio.msg import Msg

from agent_gateway.domain.commands import verified, verified_released, verified_switch
from agent_gateway.domain.gateway import Gateway

log = structlog.get_logger()


def campaigns_follower(bus: Bus, gateway: Gateway, keys: list[Ed25519PublicKey]) -> Follower:
    """Return the follower that keeps the campaigns true."""
    objects = Objects(bus, STORE)

    async def on_message(message: Msg) -> None:
        try:
            await _take(message, gateway, keys, objects)
        except (Poison, ValueError) as error:
            gateway.counters.commands_refused += 1
            log.warning("entry of bucket CAMPAIGNS refused", subject=message.subject, error=str(error))

    async def on_gap() -> None:
        """End what was deleted with the old bucket: what is in the new one comes next."""
        gateway.starts.end_all()

    return Follower(bus, bucket_stream(BUCKET), [bucket_subject(BUCKET, ">")], on_message, on_gap=on_gap)


async def _take(message: Msg, gateway: Gateway, keys: list[Ed25519PublicKey], objects: Objects) -> None:
    key = key_of(message.subject)
    if key == SWITCH_KEY:
        _turn(message, gateway, keys)
        return
    number, _, what = key.partition(".")
    campaign_id = int(number)
    if what == "command" and is_delete(message.headers):
        gateway.starts.end(campaign_id, message.metadata.timestamp.replace(tzinfo=UTC).timestamp())
    elif what == "command":
        await gateway.starts.start(verified(message.data, campaign_id, keys))
    elif what == "done" and not is_delete(message.headers):
        name = done_hash_of(message.data)
        done = message.data if name is None else await objects.get(name)
        if done is not None:  # a newer set has taken the place of one that is gone, and comes next
            gateway.campaigns.settle(campaign_id, bitmap_of(done))
    elif what == "released" and not is_delete(message.headers):
        released = verified_released(message.data, campaign_id, keys)
        hosts = await objects.get(released.hosts_hash) if released.hosts_hash else released.hosts
        if hosts is not None:  # as above
            gateway.campaigns.release(campaign_id, bitmap_of(hosts))


def _turn(message: Msg, gateway: Gateway, keys: list[Ed25519PublicKey]) -> None:
    """Take the switch. That it is gone says nothing: live-query puts it back."""
    if is_delete(message.headers):
        return
    switch = verified_switch(message.data, keys)
    if gateway.campaigns.turn(switch):
        log.warning("all campaigns are halted" if switch.halted else "campaigns go on")
