"""Serving over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from flotilla_common.http.health import serve
from flotilla_common.testing.waiting import eventually


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system cannot drop such connections")
async def test_a_peer_that_takes_nothing_is_dropped():
    peer_address: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
    dropped = asyncio.Event()

    async def endless(scope, receive, send) -> None:
        peer_address.set_result(scope["client"])
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        sending = asyncio.create_task(pour(send))
        while (await receive())["type"] != "http.disconnect":
            pass
        dropped.set()
        sending.cancel()

    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    task = asyncio.create_task(serve(endless, "127.0.0.1", port, stuck_seconds=0.5))
    peer = await eventually(lambda: connected(port), timeout=30.0)
    with peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(peer_address, 30)

        await asyncio.wait_for(dropped.wait(), 30)

    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def pour(send) -> None:
    while True:
        await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})


def connected(port: int) -> socket.socket | None:
    try:
        return socket.create_connection(("127.0.0.1", port), timeout=5)
    except ConnectionRefusedError:
        return None
