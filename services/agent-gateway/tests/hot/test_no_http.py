"""What is no HTTP, or asks for an upgrade, is answered once at most, and never in another request's place."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from flotilla_common.errors import Unavailable

from .plain import LOG, READ, Plain

ORBIT = "/api/fleet/orbit/config"


async def test_what_goes_on_as_no_http_is_said_to_be(plain: Plain) -> None:
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % READ.encode()

    ((first, _, body),) = await plain.answers(head + b"no length\r\n", count=1)

    assert (first, json.loads(body)) == (b"HTTP/1.1 400 Bad Request", {"error": "malformed_request"})


async def test_orbit_hears_it_with_the_capabilities(plain: Plain) -> None:
    """One answer without them has orbit restart."""
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % ORBIT.encode()

    ((first, headers, body),) = await plain.answers(head + b"no length\r\n", count=1)

    assert first == b"HTTP/1.1 400 Bad Request"
    assert b"x-fleet-capabilities: orbit_endpoints,token_rotation" in headers
    assert json.loads(body)["error"] == json.loads(body)["errors"][0]["reason"].replace(" ", "_") == "malformed_request"


BAD_CHUNK = b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n" % READ.encode()


@pytest.mark.parametrize("path", [LOG, READ])
@pytest.mark.parametrize("behind", [b"no HTTP\r\n\r\n", BAD_CHUNK], ids=["no HTTP", "bad chunk"])
async def test_what_is_no_http_behind_a_request_that_waits_is_not_answered_in_its_place(
    plain: Plain, monkeypatch: pytest.MonkeyPatch, path: str, behind: bytes
) -> None:
    """It would be taken for the answer to the post."""
    go_on = asyncio.Event()

    async def wait(*_: object) -> None:
        await go_on.wait()
        raise Unavailable("nats")

    monkeypatch.setattr(plain.house.gateway.logs, "_publish", wait)
    await plain.answers(plain.request(READ), count=1)
    reader, writer = await asyncio.open_connection("127.0.0.1", plain.port)
    post = plain.request(LOG, log_type="result", data=[{"a": "1"}])
    writer.write(post + (b"" if path == LOG else plain.request(READ)) + behind)

    answered = b""
    with contextlib.suppress(ConnectionError):
        while piece := await asyncio.wait_for(reader.read(1), 20):
            answered += piece
    go_on.set()
    writer.close()

    assert answered == b""


UPGRADE = ("Connection: upgrade", "Upgrade: x")
FILLER = b"\r\n" * 40_000


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("filler", [b"", FILLER], ids=["next read", "filler"])
async def test_the_body_of_a_request_that_asks_for_an_upgrade_is_no_other_request(
    plain: Plain, framing: str, filler: bytes
) -> None:
    hidden = filler + plain.request(LOG, log_type="result", data=[{"a": "1"}])
    if framing == "chunked":
        hidden, length = b"%x\r\n%s\r\n0\r\n\r\n" % (len(hidden), hidden), "Transfer-Encoding: chunked"
    else:
        length = f"Content-Length: {len(hidden)}"
    head = "\r\n".join([f"POST {LOG} HTTP/1.1", "Host: x", length, *UPGRADE]).encode() + b"\r\n\r\n"

    reader, writer = await asyncio.open_connection("127.0.0.1", plain.port)
    writer.write(head)
    await writer.drain()
    first, _, body = await asyncio.wait_for(plain.answer(reader), 20)
    writer.write(hidden)
    with contextlib.suppress(ConnectionError):  # it comes behind the end
        await writer.drain()
        assert await asyncio.wait_for(reader.read(), 20) == b""
    writer.close()

    assert (first, json.loads(body)) == (b"HTTP/1.1 400 Bad Request", {"error": "malformed_request"})
    assert plain.house.gateway.counters.requests["log"] == 0


async def test_what_is_sent_whole_with_an_upgrade_is_refused_too(plain: Plain) -> None:
    ((first, _, _),) = await plain.answers(plain.request(LOG, *UPGRADE, data=[]) * 2, count=1)

    assert first == b"HTTP/1.1 400 Bad Request"
    assert plain.house.gateway.counters.requests["log"] == 0
