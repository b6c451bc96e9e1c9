"""Stream DEVICE_TOKENS: every token that may still be good is read at the start, then each new one.

Repeats and late events are harmless: of two tokens of a host the one with the higher revision is good. When the
stream was made anew, tokens known here stay good for their time; orbit sets another one where a gateway knows none.
"""

from __future__ import annotations

import structlog
from flotilla_common.bus.connection import Bus
from flotilla_common.bus.follow import Follower
from flotilla_common.contracts.device_tokens import STREAM, DeviceTokenSetV1
from nats.aio.msg import Msg
from pydantic import ValidationError

from agent_gateway.domain.device_tokens import DeviceTokens

log = structlog.get_logger()


def device_tokens_follower(bus: Bus, tokens: DeviceTokens) -> Follower:
    """Return the follower that keeps the tokens true."""

    async def on_message(message: Msg) -> None:
        try:
            tokens.put(DeviceTokenSetV1.model_validate_json(message.data).token)
        except (ValidationError, ValueError) as error:
            # It may have ended a token: none is good any more, and orbit sets another one.
            log.warning("event of a device token makes no sense", subject=message.subject, error=str(error))
            tokens.forget_all()

    return Follower(bus, STREAM, [DeviceTokenSetV1.subject], on_message, start="all")
