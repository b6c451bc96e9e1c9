"""One trace from the request to the settled answer: into the command, back with the host's answer."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from flotilla_common.contracts.campaigns import AnswerBatch, StartCampaignV1, command_key
from flotilla_common.testing import eventually
from flotilla_common.testing.spans import trace_of
from live_query.domain.answer_traces import EVERY, FIRST, MS, Sampling, trace_answers
from live_query.domain.answers import stats_of
from live_query.domain.settling import Received, Settled
from live_query.store.campaigns import CampaignState
from live_query.store.ledger import Entry
from opentelemetry import trace

from .conftest import answer_to, verified

TRACE, SPAN = "ab" * 16, "cd" * 8


@pytest.fixture
def command(deps, signing_key):
    async def read(campaign_id: int):
        return verified(await deps.bucket.get(command_key(campaign_id)), signing_key.public_key())

    return read


async def test_the_trace_of_the_click_is_the_trace_of_the_settled_answer(
    deps, running, fleet, start, gateway, books, command, spans
):
    first, second = await fleet.hosts(2)
    async with running(deps):
        with trace.get_tracer(__name__).start_as_current_span("POST /queries/run") as click:
            number = (await start(label_ids=[1])).campaign_id
        told = await command(number)
        for host_id in (first, second):
            trace_parent = f"00-{told.trace}-{told.span}-01"  # as the door for hosts does
            batch = gateway.batch(host_id, answer_to(number), trace_parent=trace_parent)
            await gateway.publish(host_id, msgspec.json.encode([batch]))
        await eventually(lambda: books.is_complete(number), timeout=30)
        await eventually(lambda: spans.named("settle answers"))
    [asked] = spans.named(StartCampaignV1.subject)
    settled = spans.named("settle answers")

    assert told.trace == trace_of(click) == trace_of(asked) == (await books.campaign(number)).trace_id
    assert told.span == f"{asked.get_span_context().span_id:016x}"
    assert {trace_of(span) for span in settled} == {told.trace}
    assert {f"{span.parent.span_id:016x}" for span in settled} == {told.span}


async def test_a_trace_that_the_request_names_is_not_mixed_with_another_ones_span(
    deps, running, fleet, start, command, spans
):
    await fleet.hosts(1)
    async with running(deps):
        number = (await start(label_ids=[1], trace_id="ab" * 16)).campaign_id
    told = await command(number)

    assert (told.trace, told.span) == ("ab" * 16, "")


async def test_the_trace_shows_targeting_the_offer_the_wait_for_the_host_and_its_work(
    deps, running, fleet, start, gateway, books, command, spans
):
    [host_id] = await fleet.hosts(1)
    async with running(deps):
        with trace.get_tracer(__name__).start_as_current_span("POST /queries/run") as click:
            number = (await start(label_ids=[1])).campaign_id
        told = await command(number)
        received = int(told.started_at * 1000) + 40
        await eventually(lambda: time.time() * 1000 > received)
        stats = msgspec.Raw(b'{"wall_time_ms":15,"user_time":2,"system_time":3,"memory":4}')
        said = answer_to(number, offered_ms=received - 30, stats=stats)
        batch = AnswerBatch(1, host_id, 0, received, [said], f"00-{told.trace}-{told.span}-01")
        await gateway.publish(host_id, msgspec.json.encode([batch]))
        await eventually(lambda: books.is_complete(number), timeout=30)
        await eventually(lambda: spans.named("settle answers"))
    names = ["wait for poll", "wait for host", "execute query", "queue answer", "host answer", "settle answers"]
    one = {name: spans.named(name)[0] for name in [*names, "find targets", "open ledger", "tell gateways"]}
    own = {name: f"{span.get_span_context().span_id:016x}" for name, span in one.items()}
    milliseconds = {name: (span.start_time // MS, span.end_time // MS) for name, span in one.items()}

    assert {trace_of(span) for span in one.values()} == {trace_of(click)}
    assert {name: f"{span.parent.span_id:016x}" for name, span in one.items()} == {
        **dict.fromkeys(["find targets", "open ledger", "tell gateways", "host answer", "settle answers"], told.span),
        **dict.fromkeys(["wait for poll", "wait for host", "queue answer"], own["host answer"]),
        "execute query": own["wait for host"],
    }
    assert milliseconds["wait for poll"][1] == milliseconds["wait for host"][0] == received - 30
    assert milliseconds["wait for host"][1] == milliseconds["queue answer"][0] == received
    assert milliseconds["execute query"] == (received - 15, received)
    assert one["queue answer"].end_time == one["settle answers"].start_time
    assert one["host answer"].end_time == one["settle answers"].end_time
    assert one["find targets"].end_time <= one["open ledger"].start_time <= one["tell gateways"].start_time


def settled_answers(number: int, *, trace_id: str = TRACE, **said: object) -> tuple[list[Received], Settled]:
    """One answer each of so many hosts to a campaign, as they are settled, a second after its start."""
    began = datetime.fromtimestamp(1000, UTC)
    state = CampaignState(7, "durable", True, began + timedelta(days=1), None, began, trace_id)
    answer = answer_to(7, **said)
    stats = stats_of(bytes(answer.stats))
    batches = [AnswerBatch(1, host, 0, 1_000_500, [answer], f"00-{TRACE}-{SPAN}-01") for host in range(number)]
    entries = [Entry(7, batch.host_id, "answered", began, stats=stats) for batch in batches]
    return [Received(batch, began) for batch in batches], Settled(Counter(), [], entries, {7: state})


def test_a_hundred_thousand_hosts_make_a_bounded_number_of_spans(spans):
    sampling, hosts = Sampling(), 100_000
    received, settled = settled_answers(1000)
    for _ in range(hosts // 1000):
        trace_answers(sampling, received, settled, 1001 * 10**9, 1001 * 10**9)

    assert len(spans.named("host answer")) == FIRST + (hosts - FIRST) // EVERY
    assert len(spans.named("")) <= 6 * len(spans.named("host answer"))


def test_of_campaigns_that_are_counted_the_one_longest_without_an_answer_is_forgotten():
    sampling = Sampling(first=1, every=1000, campaigns=2)

    assert [sampling.picks(number) for number in (1, 2, 1, 2, 3, 2, 1)] == [True, True, False, False, True, False, True]


@pytest.mark.parametrize(
    ("wall_time", "took"), [(b"1e17", 300), (b"100", 100), (b"0", 0), (b"-5", None), (b'"7"', None)]
)
def test_a_host_cannot_claim_more_time_than_it_had(spans, wall_time, took):
    stats = msgspec.Raw(b'{"wall_time_ms":' + wall_time + b"}")

    trace_answers(Sampling(), *settled_answers(1, offered_ms=1_000_200, stats=stats), 1001 * 10**9, 1002 * 10**9)

    assert [(one.end_time - one.start_time) // MS for one in spans.named("execute query")] == (
        [] if took is None else [took]
    )


@pytest.mark.parametrize("offered_ms", [1, 1_000_900, 2**63])
def test_clocks_that_differ_make_no_span_that_ends_before_it_begins(spans, offered_ms):
    trace_answers(Sampling(), *settled_answers(1, offered_ms=offered_ms), 1000 * 10**9, 1002 * 10**9)

    [whole] = spans.named("host answer")
    assert all(whole.start_time <= one.start_time <= one.end_time <= whole.end_time for one in spans.named("wait"))


def test_an_offer_that_another_gateway_made_is_no_span_and_the_wait_is_from_the_beginning(spans):
    trace_answers(Sampling(), *settled_answers(1), 1001 * 10**9, 1002 * 10**9)

    [waited], [whole] = spans.named("wait for host"), spans.named("host answer")
    assert spans.named("wait for poll") == []
    assert (waited.start_time, whole.attributes["offer_known"]) == (whole.start_time, False)


def test_an_answer_that_came_in_another_campaigns_trace_stays_out_of_it(spans):
    trace_answers(Sampling(), *settled_answers(1, trace_id="cd" * 16), 1001 * 10**9, 1002 * 10**9)

    assert spans.named("") == []


async def test_a_trace_that_is_not_recorded_is_not_gone_on_with(deps, running, fleet, start, command, spans):
    await fleet.hosts(1)
    untraced = trace.NonRecordingSpan(trace.SpanContext(int(TRACE, 16), int(SPAN, 16), is_remote=False))
    async with running(deps):
        with trace.use_span(untraced):
            number = (await start(label_ids=[1])).campaign_id
    told = await command(number)

    assert (told.trace, told.span) == (TRACE, "")
    assert spans.named("") == []
