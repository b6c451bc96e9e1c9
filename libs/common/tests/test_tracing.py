"""One span per HTTP request, and where it comes from and goes to."""

from __future__ import annotations

import json

import pytest
import structlog
from flotilla_common import telemetry
from flotilla_common.http.tracing import Traced
from flotilla_common.testing.spans import trace_of
from opentelemetry.trace import SpanKind, StatusCode

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Route:
    path = "/hosts/{host_id}"


async def call(app, *, kind: str = "http", headers: tuple[tuple[bytes, bytes], ...] = ()) -> list[dict]:
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "method": "GET", "path": "/hosts/7", "query_string": b"token=secret", "headers": headers}
    await Traced(app)(scope, None, send)
    return sent


def answering(status: int):
    async def app(scope, receive, send):
        scope["route"] = Route
        await send({"type": "http.response.start", "status": status, "headers": []})

    return app


async def test_a_request_is_one_span_named_for_its_route_without_its_query(spans):
    sent = await call(answering(200))
    [span] = spans.named("GET")

    assert [message["status"] for message in sent] == [200]
    assert (span.name, span.kind) == ("GET /hosts/{host_id}", SpanKind.SERVER)
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "http.route": "/hosts/{host_id}",
        "http.response.status_code": 200,
    }


async def test_a_request_goes_on_in_the_trace_of_whoever_called(spans):
    await call(answering(200), headers=((b"traceparent", f"00-{TRACE}-{PARENT}-01".encode()),))
    [span] = spans.named("GET")

    assert (trace_of(span), f"{span.parent.span_id:016x}") == (TRACE, PARENT)


@pytest.mark.parametrize("header", [b"", b"garbage", b"\xff", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"])
async def test_a_header_that_makes_no_sense_begins_a_trace(spans, header):
    await call(answering(200), headers=((b"traceparent", header),))
    [span] = spans.named("GET")

    assert span.parent is None


async def test_failures_show_in_the_span_and_go_on(spans):
    async def broken(scope, receive, send):
        raise KeyError("x")

    await call(answering(503))
    with pytest.raises(KeyError):
        await call(broken)

    assert [span.status.status_code for span in spans.named("GET")] == [StatusCode.ERROR, StatusCode.ERROR]


async def test_sockets_are_not_traced(spans):
    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})

    assert await call(app, kind="websocket") == [{"type": "websocket.accept"}]
    assert spans.named("") == []


async def test_what_a_request_logs_has_its_trace(spans, capsys):
    log = structlog.wrap_logger(
        structlog.PrintLogger(), processors=[telemetry._add_trace, structlog.processors.JSONRenderer()]
    )

    async def app(scope, receive, send):
        log.info("inside")

    await call(app)
    line = json.loads(capsys.readouterr().out)

    assert line["trace_id"] == trace_of(spans.named("GET")[0])
