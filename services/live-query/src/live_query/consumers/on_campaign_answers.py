"""answers.campaign.v1: what hosts say."""

from __future__ import annotations

import time
from datetime import UTC

import msgspec
from flotilla_common.bus.consumer import Subscription
from flotilla_common.contracts.campaigns import ANSWERS_STREAM, AnswerBatch
from flotilla_common.errors import Poison
from flotilla_common.telemetry import context_from
from nats.aio.msg import Msg
from opentelemetry import trace

from live_query import metrics
from live_query.deps import Deps
from live_query.domain.settling import Received, settle

DURABLE = "live-query-on_campaign_answers"
BATCH = 32  # messages; each may have up to 8 MiB
ACK_WAIT_SECONDS = 10.0  # what a killed replica had in hand comes again after this
VERSION = 1
tracer = trace.get_tracer(__name__)
_decoder = msgspec.json.Decoder(AnswerBatch)


def decode(message: Msg) -> Received:
    """Parse a message.

    Raises:
        Poison: it is none that a gateway of this release sends.

    """
    try:
        batch = _decoder.decode(message.data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Poison(f"not a batch of answers: {error}") from error
    if batch.v != VERSION:
        raise Poison(f"batch of version {batch.v}")
    trace_parent = (message.headers or {}).get("traceparent", "")
    return Received(batch, message.metadata.timestamp.replace(tzinfo=UTC), trace_parent)


async def handle(received: list[Received], deps: Deps) -> None:
    """Idempotent: a host's first answer is decided in Redis and every transition of the ledger starts from pending."""
    now, began = deps.clock(), time.time_ns()
    async with deps.sessions.begin() as session:
        tally = await settle(session, deps.rows, received, deps.limits, now=now)
    for outcome, number in tally.items():
        metrics.ANSWERS.labels(outcome).inc(number)
    for item in received:
        metrics.SETTLE_SECONDS.observe(max((deps.clock() - item.stored_at).total_seconds(), 0))
    _trace({item.trace for item in received if item.trace}, began)


def _trace(parents: set[str], began: int) -> None:
    """Show in each trace that its answers are settled: a batch has those of several campaigns."""
    for parent in parents:
        tracer.start_span("settle answers", context=context_from({"traceparent": parent}), start_time=began).end()


SUBSCRIPTION = Subscription(
    ANSWERS_STREAM,
    "answers.campaign.v1.*",
    DURABLE,
    decode,
    handle,
    batch=BATCH,
    ack_wait_seconds=ACK_WAIT_SECONDS,
)
