"""How much of a body is taken before anybody has logged in."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import httpx2
import pytest
from admin_api.routes.body_gate import UNCOUNTED, BodyGate, BodyLimits
from admin_api.settings import Settings
from flotilla_common.testing.waiting import eventually
from pydantic import ValidationError

from .conftest import address_of, serving

LIMITS = BodyLimits(one_bytes=1024 * 1024, all_bytes=2 * 1024 * 1024, seconds=60)
LARGE = UNCOUNTED + 700 * 1024


class Handlers:
    """An application that holds each body until the test lets go."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go = asyncio.Event()

    async def __call__(self, scope, receive, send) -> None:
        self.sizes.append(len((await receive())["body"]))
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


@pytest.fixture
def handlers() -> Handlers:
    return Handlers()


@pytest.fixture
async def gate(handlers) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=BodyGate(handlers, LIMITS))
    async with httpx2.AsyncClient(transport=transport, base_url="http://admin.test") as client:
        yield client


async def test_bodies_beyond_what_a_process_holds_are_refused_until_others_are_answered(gate, handlers):
    first = [asyncio.ensure_future(gate.post("/api/x", content=b"x" * LARGE)) for _ in range(2)]
    await eventually(lambda: len(handlers.sizes) == 2)

    refused = await gate.post("/api/x", content=b"x" * LARGE)
    small = asyncio.ensure_future(gate.post("/api/x", content=b"x" * UNCOUNTED))
    await eventually(lambda: len(handlers.sizes) == 3)
    handlers.go.set()
    statuses = [(await answer).status_code for answer in (*first, small)]

    assert (refused.status_code, refused.json()["errors"][0]["reason"]) == (
        503,
        "too many large bodies at once; try again later",
    )
    assert refused.headers["retry-after"] == "1"
    assert statuses == [200] * 3
    assert (await gate.post("/api/x", content=b"x" * LARGE)).status_code == 200


async def test_what_a_body_is_inflated_to_counts(gate, handlers):
    body, headers = gzip.compress(b"x" * LARGE), {"content-encoding": "gzip"}
    first = [asyncio.ensure_future(gate.post("/api/x", content=body, headers=headers)) for _ in range(2)]
    await eventually(lambda: len(handlers.sizes) == 2)

    refused = await gate.post("/api/x", content=body, headers=headers)
    handlers.go.set()

    assert refused.status_code == 503
    assert [(await answer).status_code for answer in first] == [200] * 2
    assert handlers.sizes == [LARGE] * 2


@pytest.mark.parametrize(
    ("plain", "cut", "status"),
    [(b"x" * 1024 * 1024, None, 200), (b"x" * (1024 * 1024 + 1), None, 413), (b"x" * 100, -1, 400), (b"", None, 200)],
)
async def test_a_zipped_body_must_be_whole_and_not_too_large(gate, handlers, plain, cut, status):
    handlers.go.set()

    answer = await gate.post("/api/x", content=gzip.compress(plain)[:cut], headers={"content-encoding": "gzip"})

    assert answer.status_code == status
    assert handlers.sizes == ([len(plain)] if status == 200 else [])


async def test_a_body_that_does_not_come_is_not_waited_for(handlers):
    gate = BodyGate(handlers, BodyLimits(1024, 2048, seconds=0.1))
    async with serving(gate) as running, asyncio.timeout(30):
        host, port = address_of(running).split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /api/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()

    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["errors"][0]["reason"] == "the body did not come within 0.1 s"
    assert handlers.sizes == []


async def test_half_a_body_reaches_nobody_when_its_sender_leaves(handlers):
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    scope = {"type": "http", "method": "POST", "path": "/api/x", "headers": []}

    async def receive():
        return messages.pop(0)

    await BodyGate(handlers, LIMITS)(scope, receive, None)

    assert handlers.sizes == []


def test_there_must_be_room_for_the_largest_body(settings):
    with pytest.raises(ValidationError, match="twice body_limit_bytes"):
        Settings(**{**settings.model_dump(), "bodies_limit_bytes": settings.body_limit_bytes})
