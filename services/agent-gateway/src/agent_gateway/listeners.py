"""Both listeners in one event loop: granian terminates TLS, uvicorn serves plain HTTP behind a balancer.

granian's embedded server is used although it calls itself experimental: its handshake costs less than half of
uvicorn's, and stock osqueryd pays for one with every request.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import structlog
from flotilla_common.http.health import serve
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server

from agent_gateway.certificate import Certificate
from agent_gateway.gathering import LONGEST_SECONDS
from agent_gateway.granian_door import GranianDoor
from agent_gateway.routes.door import Door
from agent_gateway.shortcut import ShortcutProtocol
from agent_gateway.slow_clients import PATIENCE, Patience, drop_the_stuck

log = structlog.get_logger()

BACKLOG = 2048
CONNECTIONS = 65_536  # held at once; granian itself would take no more than the backlog
DRAIN_SECONDS = 3.0
STOP_SECONDS = 5.0  # granian itself would wait for ever for a request that does not end


Opened = Callable[[], None]
"""Called once the port is bound."""


async def listen_tls(
    door: Door,
    host: str,
    port: int,
    certificate: Certificate,
    patience: Patience = PATIENCE,
    *,
    opened: Opened | None = None,
    interface: Interfaces = Interfaces.RSGI,
    gather_seconds: float = LONGEST_SECONDS,
) -> None:
    """Serve HTTP/1.1 over TLS 1.2 and 1.3 until cancelled; then finish open requests.

    A handshake may take 10 s, by granian. On Linux it binds with SO_REUSEPORT, so that other workers may listen on the
    same port. By `interface` ASGINL the door is called as it is. `gather_seconds`: how long requests may be waited for
    that gather.
    """
    fingerprint = certificate.fingerprint()
    app = GranianDoor(door, gather_seconds) if interface is Interfaces.RSGI else door
    server = _granian(app, host, port, certificate, patience, interface)
    if opened is not None:
        server.on_startup(opened)
    task = asyncio.create_task(server.serve())
    watching = asyncio.create_task(_watch(server, certificate, fingerprint, port, patience))
    try:
        done, _ = await asyncio.wait([task, watching], return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        watching.cancel()
        server.stop()  # type: ignore[no-untyped-call]
        await asyncio.wait([task], timeout=STOP_SECONDS)
        await door.emptied(DRAIN_SECONDS)
        raise
    watching.cancel()
    message = "the TLS listener ended by itself"
    raise RuntimeError(message) from next((ended.exception() for ended in done), None)


def _granian(
    app: GranianDoor | Door, host: str, port: int, certificate: Certificate, patience: Patience, interface: Interfaces
) -> Server:
    return Server(
        app,
        address=host,
        port=port,
        interface=interface,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=patience.keep_alive_seconds * 1000),
        websockets=False,
        backlog=BACKLOG,
        backpressure=CONNECTIONS,
        log_enabled=False,
        ssl_cert=certificate.cert_file,
        ssl_key=certificate.key_file,
        ssl_protocol_min=SSLProtocols.tls12,
    )


async def _watch(server: Server, certificate: Certificate, fingerprint: bytes, port: int, patience: Patience) -> None:
    """Drop stuck clients of each worker, the first one and those with renewed certificates."""
    while True:
        await drop_the_stuck(port, patience.stuck_seconds)
        fingerprint = await _renewed(server, certificate, fingerprint)


async def _renewed(server: Server, certificate: Certificate, fingerprint: bytes) -> bytes:
    """Wait for a renewed certificate, use it and return its fingerprint; what cannot be used leaves the old in force.

    A second worker with the new certificate listens beside the first one, which then finishes its requests and goes.
    Connections that have not sent a request by then are closed; osqueryd opens another one at once.
    """
    while True:
        await asyncio.sleep(certificate.look_seconds)
        try:
            found = certificate.fingerprint()
            if found == fingerprint:
                continue
            server.build_ssl_context(
                certificate.cert_file, certificate.key_file, None, SSLProtocols.tls12, None, [], False
            )
        except (OSError, ValueError) as error:
            log.warning("the renewed certificate cannot be used, the old one stays", error=repr(error))
            continue
        server.reload()  # type: ignore[no-untyped-call]
        log.info("certificate renewed", cert_file=str(certificate.cert_file))
        return found


async def listen_plain(
    door: Door,
    host: str,
    port: int,
    patience: Patience = PATIENCE,
    *,
    opened: Opened | None = None,
    shares_port: bool = False,
) -> None:
    """Serve plain HTTP/1.1 until cancelled; then finish open requests.

    With `shares_port` other workers may listen on the same port. Forwarded addresses are left to our own rule, which
    knows whom to believe.
    """
    listening = None
    if shares_port:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=True)
    if opened is not None:
        opened()
    await serve(
        door,
        host,
        port,
        stuck_seconds=patience.stuck_seconds,
        listening=listening,
        http=ShortcutProtocol,
        ws="none",
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=patience.keep_alive_seconds,
    )
