"""The middle of a live query's trace, made afterwards: how some of its answers came about.

Of a campaign, and of each replica, the first answers are traced and then every so manyth: neither a trace nor this
service may grow with the number of hosts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime

from flotilla_common.contracts.campaigns import AnswerBatch, CampaignAnswer
from flotilla_common.telemetry import context_from
from opentelemetry import trace

from live_query.domain.settling import Received, Settled
from live_query.store.campaigns import CampaignState
from live_query.store.ledger import Entry

FIRST = 32  # answers of a campaign that are all traced
EVERY = 1000  # and after those one of so many
CAMPAIGNS = 4096  # whose answers are counted at once; of one that was forgotten the first are traced again
MS = 1_000_000  # nanoseconds
tracer = trace.get_tracer(__name__)


class Sampling:
    """Picks the answers that are traced."""

    def __init__(self, first: int = FIRST, every: int = EVERY, campaigns: int = CAMPAIGNS) -> None:
        self._first = first
        self._every = every
        self._campaigns = campaigns
        self._counts: OrderedDict[int, int] = OrderedDict()

    def picks(self, campaign_id: int) -> bool:
        """Count one more answer; say whether it is traced."""
        number = self._counts.pop(campaign_id, 0)
        self._counts[campaign_id] = number + 1
        if len(self._counts) > self._campaigns:
            self._counts.popitem(last=False)
        return number < self._first or (number - self._first + 1) % self._every == 0


def trace_answers(sampling: Sampling, received: Sequence[Received], settled: Settled, began: int, now: int) -> None:
    """Make the spans of the answers that are picked among those that count, and of their settling, from `began` on.

    Times are nanoseconds of Unix time.
    """
    picked = {(one.campaign_id, one.host_id): one for one in settled.entries if sampling.picks(one.campaign_id)}
    parents = set()
    for batch in (item.batch for item in received if picked):
        for answer in batch.answers:
            entry = picked.get((answer.campaign_id, batch.host_id))
            campaign = settled.campaigns.get(answer.campaign_id)
            if entry is None or campaign is None or not _is_in_trace_of(campaign, batch):
                continue
            del picked[answer.campaign_id, batch.host_id]
            parents.add(batch.trace_parent)
            trace_answer(campaign, batch, answer, entry, began, now)
    for parent in parents:
        context = context_from({"traceparent": parent})
        tracer.start_span("settle answers", context=context, start_time=began).end(now)


def _is_in_trace_of(campaign: CampaignState, batch: AnswerBatch) -> bool:
    """Whether the batch goes on in this campaign's trace, not in another's, whose answer came in the same write."""
    return batch.trace_parent.split("-")[1:2] == [campaign.trace_id]


def trace_answer(
    campaign: CampaignState, batch: AnswerBatch, answer: CampaignAnswer, entry: Entry, began: int, now: int
) -> None:
    """Make the spans of one answer: until the host came for the query, until its answer came, and until it was settled.

    Nobody's clock is believed beyond what was before and after it, and a host's own word of how long the query took
    not beyond the time that it had.
    """
    asked = min(_nanoseconds(campaign.created_at), now)
    received = min(max(batch.received_ms * MS, asked), now)
    offered = min(max(answer.offered_ms * MS, asked), received)
    facts: dict[str, str | int | bool] = {
        "campaign_id": entry.campaign_id,
        "host_id": entry.host_id,
        "attempt": answer.attempt,
        "outcome": entry.outcome,
        "rows": entry.row_count,
        "offer_known": answer.offered_ms > 0,
    }
    context = context_from({"traceparent": batch.trace_parent})
    whole = tracer.start_span("host answer", context=context, start_time=asked, attributes=facts)
    within = trace.set_span_in_context(whole)
    if answer.offered_ms > 0:
        tracer.start_span("wait for poll", context=within, start_time=asked).end(offered)
    waited = tracer.start_span("wait for host", context=within, start_time=offered)
    took = wall_time_ms(entry.stats)
    if took is not None:
        start = max(offered, received - int(took * MS))
        inside = trace.set_span_in_context(waited)
        tracer.start_span("execute query", inside, start_time=start, attributes={"claimed_ms": took}).end(received)
    waited.end(received)
    tracer.start_span("queue answer", context=within, start_time=received).end(min(max(began, received), now))
    whole.end(now)


def wall_time_ms(stats: dict[str, float] | None) -> float | None:
    """Return how long a host says that the query took; None: it measured nothing, or says what cannot be."""
    took = (stats or {}).get("wall_time_ms")
    return took if took is not None and took >= 0 else None


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000) * MS
