"""Bucket DETAILS: which platforms are asked about themselves. Only the newest state counts, repeats change nothing."""

from __future__ import annotations

from flotilla_common.bus.buckets import is_delete, key_of
from flotilla_common.bus.connection import Bus
from flotilla_common.bus.follow import Follower
from flotilla_common.contracts.details import BUCKET
from flotilla_common.contracts.streams import bucket_stream, bucket_subject
from nats.aio.msg import Msg

from agent_gateway.domain.query_sets import QuerySets


def details_follower(bus: Bus, query_sets: QuerySets) -> Follower:
    """Return the follower that keeps the platforms true."""

    async def on_message(message: Msg) -> None:
        key = key_of(message.subject)
        if is_delete(message.headers):
            query_sets.drop_details(key)
        else:
            query_sets.put_details(key)

    async def on_gap() -> None:
        query_sets.doubt_details()

    return Follower(bus, bucket_stream(BUCKET), [bucket_subject(BUCKET, ">")], on_message, on_gap=on_gap)
