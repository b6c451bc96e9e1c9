"""The trace of a live query ends where its answers are shown."""

from __future__ import annotations

import msgspec
import pytest
from admin_api.routes.campaign_traces import parent_of
from flotilla_common.contracts.campaigns import CampaignCommand, encode_command
from flotilla_common.testing.spans import trace_of
from flotilla_common.testing.waiting import eventually

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def stored(span: str = SPAN) -> bytes:
    command = CampaignCommand(1, "SELECT 1", 0.0, 1.0, TRACE, b"", span=span)
    return encode_command(b"s" * 64, msgspec.json.encode(command))


async def test_the_answer_in_the_viewer_is_in_the_trace_of_the_click(fleet, admin, live_query, watching, spans):
    host = await fleet.host("a")
    campaign = await live_query.campaign([host], command=stored(), trace_id=TRACE)
    await live_query.answer(campaign, host)

    async with watching(admin, campaign) as viewer:
        await viewer.next("result")
        await eventually(lambda: spans.named("show answers"))
    [shown] = spans.named("show answers")

    assert (trace_of(shown), f"{shown.parent.span_id:016x}") == (TRACE, SPAN)
    assert (shown.attributes["host_id"], shown.attributes["outcome"]) == (host, "answered")


async def test_many_answers_at_once_are_one_span(fleet, admin, live_query, watching, spans, monkeypatch):
    monkeypatch.setattr("admin_api.routes.campaign_traces.EVERY_SECONDS", 3600.0)
    hosts = [await fleet.host(name) for name in "abcdef"]
    campaign = await live_query.campaign(hosts, command=stored())
    for host in hosts:
        await live_query.answer(campaign, host)

    async with watching(admin, campaign) as viewer:
        await viewer.results(6)
        await eventually(lambda: spans.named("show answers"))

    assert len(spans.named("show answers")) == 1


@pytest.mark.parametrize("command", [b"-", stored(span=""), encode_command(b"s" * 64, b"{")])
def test_a_command_without_a_span_has_no_trace_to_go_on_with(command):
    assert parent_of(command) == ""
