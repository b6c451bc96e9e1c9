"""Both listeners in one event loop: granian terminates TLS, uvicorn serves plain HTTP behind a balancer.

granian's embedded server is used although it calls itself experimental: its handshake costs less than half of
uvicorn's, and stock osqueryd pays for one with every request.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from flotilla_common.http.health import serve
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server

from agent_gateway.routes.door import Door

BACKLOG = 2048
HEADER_TIMEOUT_MILLISECONDS = 90_000  # also how long an idle connection is kept: longer than a host's interval
DRAIN_SECONDS = 3.0


async def listen_tls(door: Door, host: str, port: int, cert_file: Path, key_file: Path) -> None:
    """Serve HTTP/1.1 over TLS 1.2 and 1.3 until cancelled; then finish open requests."""
    server = Server(
        door,
        address=host,
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT_MILLISECONDS),
        websockets=False,
        backlog=BACKLOG,
        log_enabled=False,
        ssl_cert=cert_file,
        ssl_key=key_file,
        ssl_protocol_min=SSLProtocols.tls12,
    )
    task = asyncio.create_task(server.serve())
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        server.stop()  # type: ignore[no-untyped-call]
        await task
        await door.emptied(DRAIN_SECONDS)
        raise
    message = "the TLS listener ended by itself"
    raise RuntimeError(message)


async def listen_plain(door: Door, host: str, port: int, keep_alive_seconds: int) -> None:
    """Serve plain HTTP/1.1 until cancelled; then finish open requests.

    Forwarded addresses are left to our own rule, which knows whom to believe.
    """
    await serve(
        door,
        host,
        port,
        http="httptools",
        ws="none",
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=keep_alive_seconds,
    )
