"""A request's trace goes on in what it asks of other services and in the events it causes."""

from __future__ import annotations

import httpx2
from admin_api.app import create_app
from flotilla_common.clock import utc_now
from flotilla_common.contracts.campaigns import CampaignStartedV1, StartCampaignV1, TargetCounts
from flotilla_common.db.models.admin_api import Outbox
from flotilla_common.testing.spans import trace_of
from opentelemetry import trace

from .conftest import responding

TRACE = "0af7651916cd43dd8448eb211c80319c"


async def test_one_trace_from_the_http_request_to_live_query_and_to_events(
    deps, fleet, admin, bus_for, database, spans
):
    host, heard = await fleet.host("a"), []

    async def start(_request: StartCampaignV1, _: None) -> CampaignStartedV1:
        heard.append(f"{trace.get_current_span().get_span_context().trace_id:032x}")
        counts = TargetCounts(total=1, online=1, offline=0, missing_in_action=0, new=0)
        return CampaignStartedV1(campaign_id=7, created_at=utc_now(), counts=counts)

    transport = httpx2.ASGITransport(app=create_app(deps))
    headers = {**admin.headers, "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    before = {row.id for row in await database.rows(Outbox)}
    async with (
        responding(await bus_for("live_query"), (StartCampaignV1, start)),
        httpx2.AsyncClient(transport=transport, base_url="http://admin.test", headers=headers) as client,
    ):
        run = {"query": "SELECT 1", "selected": {"hosts": [host]}}
        ran = await client.post("/api/latest/fleet/queries/run", json=run)
        made = await client.post("/api/latest/fleet/queries", json={"name": "new", "query": "SELECT 1"})
    caused = [row.trace for row in await database.rows(Outbox) if row.id not in before]
    requests = spans.named("POST /api")

    assert (ran.status_code, made.status_code) == (200, 200)
    assert heard == [TRACE]
    assert {trace_of(span) for span in requests} == {TRACE}
    assert len(requests) == 2
    assert caused
    assert all(parent.split("-")[1] == TRACE for parent in caused)
