"""The load client against a server that misbehaves on purpose: what it must count, it counts. Takes a few seconds."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from bench.bodies import NOTHING, READ
from bench.load_client import LoadFailed, run_program

REQUESTS = 50
KEYS = 10
STALL_SECONDS = 0.3
STALL_RATE = 200  # requests per second, over one connection
GOOD = NOTHING.encode()
ANSWERS = {
    "/good": (b"200 OK", GOOD),
    "/error": (b"200 OK", b'{"queries":{},"error":"bad"}'),
    "/other": (b"200 OK", b'{"node_invalid":true}'),
    "/status": (b"503 Unavailable", GOOD),
    "/stall": (b"200 OK", GOOD),
}


class _Server:
    """Answers by path; `/cut` closes without a word, `/stall` makes everybody wait once."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self._stalled = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                path = head.split(b" ", 2)[1].decode()
                if path == "/cut":
                    break
                if path == "/stall" and not self._stalled and len(self.requests) > STALL_RATE // 2:
                    self._stalled = True
                    time.sleep(STALL_SECONDS)  # noqa: ASYNC251 - the whole server stalls, that is the point
                status, body = ANSWERS[path]
                writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
        writer.close()


@contextlib.contextmanager
def _serving() -> Iterator[tuple[_Server, int]]:
    server, loop = _Server(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    listening = asyncio.run_coroutine_threadsafe(asyncio.start_server(server.serve, "127.0.0.1", 0), loop).result(5)
    try:
        yield server, listening.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        listening.close()
        loop.close()


def check_load_client() -> None:
    """Check it.

    Raises:
        LoadFailed: it was not built, or does not see what it must see.

    """
    with _serving() as (server, port):
        good = _ask(port, "/good", "--requests", str(REQUESTS), "--header", "X-Forwarded-For: {address}")
        _expect("all good answers count", good["ok"] == REQUESTS == len(server.requests) and good["bad"] == 0, good)
        keys = {request.split(b'"node_key":"')[1][:32] for request in server.requests}
        _expect("every key is used", len(keys) == KEYS, keys)
        addresses = {request.split(b"X-Forwarded-For: ")[1].split(b"\r\n")[0] for request in server.requests}
        _expect("every address is used", len(addresses) == KEYS, addresses)
        for path, member in (
            ("/error", "bad_body"),
            ("/other", "bad_body"),
            ("/status", "bad_status"),
            ("/cut", "broken"),
        ):
            bad = _ask(port, path, "--requests", str(REQUESTS))
            _expect(f"{path} counts as {member}", bad[member] == bad["bad"] == REQUESTS and bad["ok"] == 0, bad)
        server.requests.clear()
        stalled = _ask(port, "/stall", "--rate", str(STALL_RATE), "--connections", "1", "--seconds", "1")
        is_honest = stalled["p90_ms"] > STALL_SECONDS * 1000 / 4 and stalled["p50_ms"] < STALL_SECONDS * 1000 / 4
        _expect("requests that fell due while the server stalled count as slow", is_honest, stalled)
        is_whole = stalled["ok"] in (STALL_RATE, STALL_RATE + 1)  # one may fall due as the window closes
        _expect("none of them is left out", is_whole and stalled["bad"] == 0, stalled)


def _ask(port: int, path: str, *words: str) -> dict[str, Any]:
    common = ["--port", str(port), "--path", path, "--body", READ, "--expect", NOTHING, "--keys", str(KEYS)]
    return run_program("--connections", "4", "--warm-up", "0", "--in-turn", *common, *words)


def _expect(what: str, truth: bool, found: object) -> None:
    if not truth:
        raise LoadFailed(f"the load client is wrong: {what}: {found}")
