"""/healthz (the process lives), /readyz (it can do its work now) and /metrics, on a port of their own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Check = Callable[[], Awaitable[str | None]]
"""Returns None when fine, else why not. Must answer within CHECK_TIMEOUT_SECONDS."""

CHECK_TIMEOUT_SECONDS = 2.0


@dataclass
class Health:
    """Named checks. Liveness checks fail /healthz too (the process should be restarted), the others only /readyz."""

    ready_checks: dict[str, Check] = field(default_factory=dict)
    live_checks: dict[str, Check] = field(default_factory=dict)

    async def failures(self, checks: dict[str, Check]) -> dict[str, str]:
        """Run checks side by side; name -> reason for those that fail."""
        reasons = await asyncio.gather(*(_reason(check) for check in checks.values()))
        return {name: reason for name, reason in zip(checks, reasons, strict=True) if reason is not None}


async def _reason(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            return await check()
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001 - a check that fails in any way is a failed check
        return f"{type(error).__name__}: {error}"


def health_app(health: Health, registry: CollectorRegistry = REGISTRY) -> Starlette:
    """Return the application that serves the three paths.

    Starlette alone: most services have no other HTTP, and FastAPI would be a tenth of what they load at start.
    """

    async def answer(checks: dict[str, Check]) -> JSONResponse:
        failures = await health.failures(checks)
        return JSONResponse({"ok": not failures, "failures": failures}, 503 if failures else 200)

    async def healthz(_request: Request) -> JSONResponse:
        """Is the process worth keeping?."""
        return await answer(health.live_checks)

    async def readyz(_request: Request) -> JSONResponse:
        """Can it do its work now?."""
        return await answer({**health.live_checks, **health.ready_checks})

    async def metrics(_request: Request) -> Response:
        """Prometheus text."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])


class QuietServer(uvicorn.Server):
    """uvicorn without its own signal handling: the process has one place for that (`service.run`)."""

    def install_signal_handlers(self) -> None:
        """Leave signals alone."""

    def capture_signals(self):  # type: ignore[no-untyped-def]
        """Leave signals alone."""
        from contextlib import nullcontext  # noqa: PLC0415

        return nullcontext()


async def serve(
    app: object,
    host: str,
    port: int,
    *,
    stuck_seconds: float | None = None,
    unsent_bytes: int | None = None,
    listening: socket.socket | None = None,
    **options: object,
) -> None:
    """Serve an ASGI application until cancelled; then finish open requests within 3 s.

    With `stuck_seconds` the system drops connections whose peer takes nothing for that long, also those that were
    closed already with bytes still to send: nobody holds memory by not reading. With `unsent_bytes` it holds about so
    many of a connection beyond those on their way, not megabytes: what is said to a slow peer last is heard soon. (Both
    on systems that can do this: tcp(7), TCP_USER_TIMEOUT and TCP_NOTSENT_LOWAT.)
    `listening` is a socket bound to the port already; it is closed in the end.
    """
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=3,
        server_header=False,
        **options,  # type: ignore[arg-type]
    )
    server = QuietServer(config)
    if stuck_seconds is not None or unsent_bytes is not None:
        listening = listening or config.bind_socket()
        _set_option(listening, "TCP_USER_TIMEOUT", None if stuck_seconds is None else int(stuck_seconds * 1000))
        _set_option(listening, "TCP_NOTSENT_LOWAT", unsent_bytes)
    task = asyncio.create_task(server.serve(None if listening is None else [listening]))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        server.should_exit = True
        await task
        raise


def _set_option(listening: socket.socket, name: str, value: int | None) -> None:
    """Set an option that accepted connections inherit."""
    if value is not None and hasattr(socket, name):
        listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
