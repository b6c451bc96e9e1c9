"""Bucket PLANS: the newest head of each class. Repeats and late ones are harmless: a lower revision is ignored."""

from __future__ import annotations

import structlog
from flotilla_common.bus.buckets import is_delete, key_of
from flotilla_common.bus.connection import Bus
from flotilla_common.bus.follow import Follower
from flotilla_common.contracts.plans import BUCKET, PlanHead, head_key
from flotilla_common.contracts.streams import bucket_stream, bucket_subject
from nats.aio.msg import Msg
from pydantic import ValidationError

from agent_gateway.domain.orbit_plans import OrbitPlans
from agent_gateway.domain.plans import Plans

log = structlog.get_logger()

HEADS = head_key("")


def plans_follower(bus: Bus, plans: Plans, orbit_plans: OrbitPlans) -> Follower:
    """Return the follower that keeps the heads true; `orbit_plans` is told of classes that are gone."""

    async def on_message(message: Msg) -> None:
        if is_delete(message.headers):
            class_key = key_of(message.subject).removeprefix(HEADS)
            plans.drop(class_key)
            orbit_plans.drop(class_key)
            return
        try:
            plans.take_head(PlanHead.model_validate_json(message.data))
        except ValidationError as error:
            log.warning("head of a plan makes no sense", subject=message.subject, error=str(error))

    async def on_gap() -> None:
        plans.doubt_everything()

    return Follower(bus, bucket_stream(BUCKET), [bucket_subject(BUCKET, HEADS + ">")], on_message, on_gap=on_gap)
