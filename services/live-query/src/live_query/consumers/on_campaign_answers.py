"""answers.campaign: what hosts say."""

from __future__ import annotations

import time
from datetime import UTC

import msgspec
import structlog
from flotilla_common.bus import outage
from flotilla_common.bus.consumer import Subscription
from flotilla_common.contracts.campaigns import ANSWERS_STREAM, AnswerBatch
from flotilla_common.errors import Poison
from nats.aio.msg import Msg

from live_query import metrics
from live_query.consumers.announcements import silence_or_leave
from live_query.deps import Deps
from live_query.domain.answer_traces import trace_answers
from live_query.domain.settling import Received, settle

DURABLE = "live-query-on_campaign_answers"
BATCH = 1024  # messages
HOSTS = 4096  # in one transaction, which costs as much as the answers of a hundred; of small ones a message has many
GATHER_SECONDS = 0.05  # a person does not see it, and a fleet that answers one by one costs a fraction
VERSION = 1
log = structlog.get_logger()
_decoder = msgspec.json.Decoder(AnswerBatch | list[AnswerBatch])  # one alone is of version 1 of the subject


def decode(message: Msg) -> list[Received]:
    """Parse a message: what several hosts brought.

    Raises:
        Poison: it is none that a gateway of this release sends.

    """
    try:
        found = _decoder.decode(message.data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Poison(f"no batches of answers: {error}") from error
    batches = found if isinstance(found, list) else [found]
    for batch in batches:
        if batch.v != VERSION:
            raise Poison(f"batch of version {batch.v}")
    stored_at = message.metadata.timestamp.replace(tzinfo=UTC)
    return [Received(batch, stored_at) for batch in batches]


async def handle(messages: list[list[Received]], deps: Deps) -> None:
    """Idempotent: a host's first answer is decided in Redis and every transition of the ledger starts from pending.

    When a message that came alone fails by a bug, each of its hosts is tried alone, so that one harms no other.
    """
    received = [item for message in messages for item in message]
    try:
        for first in range(0, len(received), HOSTS):
            await _settle(received[first : first + HOSTS], deps)
    except outage.kinds():
        raise
    except Exception:
        if len(messages) > 1 or len(received) == 1:
            raise
        await _settle_each(received, deps)


async def _settle_each(received: list[Received], deps: Deps) -> None:
    failure: Exception | None = None
    for item in received:
        try:
            await _settle([item], deps)
        except outage.kinds():
            raise
        except Exception as error:  # noqa: BLE001 - raised once all others are settled
            failure = error
    if failure is not None:
        raise failure


async def _settle(received: list[Received], deps: Deps) -> None:
    now, began = deps.clock(), time.time_ns()
    async with deps.sessions.begin() as session:
        settled = await settle(session, deps.rows, received, deps.limits, now=now)
    for overrun in settled.overruns:
        metrics.BUDGET_PAUSES.labels(overrun.budget).inc()
        log.warning("campaign paused", campaign_id=overrun.campaign_id, reason=overrun.reason)
        await silence_or_leave(deps, overrun.campaign_id)
    for outcome, number in settled.tally.items():
        metrics.ANSWERS.labels(outcome).inc(number)
    for item in received:
        metrics.SETTLE_SECONDS.observe(max((deps.clock() - item.stored_at).total_seconds(), 0))
    trace_answers(deps.sampling, received, settled, began, time.time_ns())


SUBSCRIPTION = Subscription(
    ANSWERS_STREAM, "answers.campaign.>", DURABLE, decode, handle, batch=BATCH, gather_seconds=GATHER_SECONDS
)
