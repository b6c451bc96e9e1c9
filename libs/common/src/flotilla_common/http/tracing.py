"""One span per HTTP request: its trace goes on in the logs, in requests over the bus and in events."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from flotilla_common.http.asgi import App, Message, Receive, Scope, Send
from flotilla_common.telemetry import context_from

tracer = trace.get_tracer(__name__)

SERVER_ERROR = 500


class Traced:
    """ASGI middleware, outermost. The span is a child of the caller's `traceparent`, if there is one.

    It is named for the route, not for the path, which has ids; the query string, which may hold secrets, is left out.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; WebSockets and the server's own events are not traced."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, status = scope["method"], 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with tracer.start_as_current_span(method, context=_context(scope), kind=SpanKind.SERVER) as span:
            await self._app(scope, receive, note)
            route = getattr(scope.get("route"), "path", None)
            if route:
                span.update_name(f"{method} {route}")
                span.set_attribute("http.route", route)
            span.set_attributes({"http.request.method": method, "http.response.status_code": status})
            if status >= SERVER_ERROR:
                span.set_status(StatusCode.ERROR)


def _context(scope: Scope) -> Any:
    names = {b"traceparent", b"tracestate"}
    return context_from({name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in names})
