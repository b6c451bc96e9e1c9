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


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="this system cannot bound what waits")
async def test_little_waits_in_the_kernel_for_a_slow_peer():
    """Chunks are taken until the buffers are full; the peer reads nothing. It has room for 128 KiB itself, about."""
    taken, full = [], asyncio.Event()

    async def endless(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not full.is_set():
            await send({"type": "http.response.body", "body": b"x" * 16_384, "more_body": True})
            taken.append(16_384)
            asyncio.get_running_loop().call_later(0.5, note_if_full, len(taken))

    def note_if_full(number: int) -> None:
        if number == len(taken):
            full.set()

    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    task = asyncio.create_task(serve(endless, "127.0.0.1", port, unsent_bytes=64 * 1024))
    with await eventually(lambda: connected(port), timeout=30.0) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(full.wait(), 30)

    assert 64 * 1024 < sum(taken) < 640 * 1024
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
