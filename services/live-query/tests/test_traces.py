"""One trace from the request to the settled answer: into the command, back with the host's answer."""

from __future__ import annotations

import msgspec
import pytest
from flotilla_common.contracts.campaigns import StartCampaignV1, command_key
from flotilla_common.testing import eventually
from flotilla_common.testing.spans import trace_of
from opentelemetry import trace

from .conftest import answer_to, verified


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
