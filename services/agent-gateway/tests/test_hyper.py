"""What hyper, which reads HTTP for granian on the TLS port, answers itself, with an empty body: to osqueryd a success.

Which requests these are is pinned here; whatever else comes, to either port, is answered with a JSON object.
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from agent_gateway.certificate import Certificate
from agent_gateway.listeners import listen_plain, listen_tls
from flotilla_common.testing import eventually
from flotilla_stack.certificates import make_keys
from flotilla_stack.servers.ports import choose_port
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import House
from .listening import is_listening

KIB = 1024
PATH = b"/api/v1/osquery/log"
OF_HYPER = {b"connection": b"close", b"content-length": b"0"}
FUZZ = settings(
    max_examples=100,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass(frozen=True)
class Framing:
    """How it is said where a body ends, and the body."""

    lines: tuple[bytes, ...] = (b"Content-Length: 2",)
    body: bytes = b"{}"


@dataclass(frozen=True)
class Request:
    """The parts of a request, a good one where not told otherwise."""

    method: bytes = b"POST"
    target: bytes = PATH
    version: bytes = b" HTTP/1.1"
    lines: tuple[bytes, ...] = ()
    framing: Framing = field(default_factory=Framing)

    def head(self) -> bytes:
        first = self.method + b" " + self.target + self.version
        return b"\r\n".join([first, b"Host: x", b"Connection: close", *self.lines, *self.framing.lines, b"", b""])

    def whole(self) -> bytes:
        return self.head() + self.framing.body


GOOD = Request()
KEEPING = GOOD.whole().replace(b"Connection: close\r\n", b"")
CHUNKED = b"2\r\n{}\r\n0\r\n\r\n"


def counted(*lengths: bytes) -> Framing:
    return Framing(tuple(b"Content-Length: " + length for length in lengths))


def encoded(encoding: bytes) -> Framing:
    return Framing((b"Transfer-Encoding: " + encoding,), CHUNKED)


NO_NUMBERS = (b"", b"many", b"+2", b"-2", b"0x2", b"2.0", b"2, 2", b"2 2", b"\xff", b"%d" % 2**64)
ODD_FRAMINGS = [
    *(counted(number) for number in NO_NUMBERS),
    counted(b"2", b"3"),
    *(encoded(name) for name in (b"", b"identity", b"gzip", b"chunked, gzip", b"xchunked", b"\xffchunked")),
]
HUGE_FRAMINGS = [counted(b"%d" % (2**64 - more)) for more in (1, 2)]
NO_VERSIONS = [b"", b" HTTP/0.9", b" HTTP/1.2", b" HTTP/2.0", b" HTTP/3.0", b" HTTP/1.10", b" http/1.1", b" HTTP/1.1 x"]
ODD_TARGETS = [
    *(b"/a" + odd + b"b" for odd in (b" ", b"\t", b"\x00", b"\x1f", b"\x7f", b"\x80", b"\xff", b"<", b">", b"`")),
    *(b"/a?b=" + odd for odd in (b" c", b"\x01", b"\x7f", b"\xe9", b"<", b">", b'"')),
    *(b"", b"api/v1/osquery/log", b"./a", b"?a", b"#a", b"http://", b"http://[::1/a"),
]
ODD_METHODS = [b"", b"P(ST", b"P\x00ST", b"\xff", b"P:T"]
ODD_LINES = [
    *(b"X-A: 1\r\n 2", b"X-A: 1\r\n\t2", b" X-A: 1", b": 1", b"X-A : 1", b"X-A", b"X(A: 1", b"X\xff: 1"),
    *(b"X-A: 1" + odd + b"2" for odd in (b"\x00", b"\x01", b"\x1f", b"\x7f", b"\r")),
]
LONG_LINES = [b"X" * 64 * KIB + b": 1"]
LONG_TARGETS = [start.ljust(64 * KIB - 1, b"x") for start in (b"/", b"/?", b"/#", b"http://x/")]


def many(count: int) -> tuple[bytes, ...]:
    """Return the lines that make so many of a good request, which has three."""
    return tuple(b"X-%d: 1" % number for number in range(count - 3))


OLD_AND_CHUNKED = Request(version=b" HTTP/1.0", framing=encoded(b"chunked"))
NO_HTTP = [b"hello\r\n\r\n", b"\x00\x01\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nx"]
ROWS = {
    "lengths": (400, [Request(framing=framing).whole() for framing in ODD_FRAMINGS]),
    "large lengths": (431, [Request(framing=framing).whole() for framing in HUGE_FRAMINGS]),
    "pieces before they were invented": (400, [OLD_AND_CHUNKED.whole()]),
    "versions": (400, [Request(version=version).whole() for version in NO_VERSIONS]),
    "targets": (400, [Request(target=target).whole() for target in ODD_TARGETS]),
    "methods": (400, [Request(method=method).whole() for method in ODD_METHODS]),
    "lines": (400, [Request(lines=(line,)).whole() for line in ODD_LINES]),
    "no HTTP": (400, NO_HTTP),
    "long targets": (414, [Request(target=target).whole() for target in LONG_TARGETS]),
    "long names": (431, [Request(lines=(line,)).whole() for line in LONG_LINES]),
    "many lines": (431, [Request(lines=many(count)).whole() for count in (101, 300)]),
    "a head without an end": (431, [(GOOD.head()[:-2] + b"X-A: ").ljust(408 * KIB, b"x")]),
}


@dataclass(frozen=True)
class Answer:
    """One answer, without its date."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def is_hypers(self) -> bool:
        return (self.headers, self.body) == (OF_HYPER, b"") and self.status in {400, 414, 431}

    def assert_is_spoken_to_a_host(self) -> None:
        said = json.loads(self.body)
        assert isinstance(said, dict)
        assert self.status < 500, said
        assert (self.status == 200) == ("error" not in said)


def answers_in(received: bytes) -> list[Answer]:
    """Split what came on one connection; without what only asks for more."""
    answers = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
        headers.pop(b"date", None)
        size = int(headers.get(b"content-length", b"0"))
        answers.append(Answer(int(first.split(b" ")[1]), headers, received[:size]))
        received = received[size:]
    return [answer for answer in answers if answer.status != 100]


@dataclass(frozen=True)
class Ports:
    """One gateway's two listeners."""

    tls_port: int
    plain_port: int
    context: ssl.SSLContext

    async def tls(self, sent: bytes) -> list[Answer]:
        """Return what is answered on a connection of its own until the server ends it."""
        return await ask(self.tls_port, sent, self.context)

    async def plain(self, sent: bytes) -> list[Answer]:
        """Return the same of the plain port; none where it breaks the connection, which every agent notices."""
        try:
            return await ask(self.plain_port, sent, None)
        except ConnectionError:
            return []

    async def assert_live(self) -> None:
        for ask_port in (self.tls, self.plain):
            (answer,) = await ask_port(GOOD.whole())
            assert (answer.status, json.loads(answer.body)["error"]) == (401, "missing_node_key")


async def ask(port: int, sent: bytes, context: ssl.SSLContext | None) -> list[Answer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(sent)
        return answers_in(await asyncio.wait_for(reader.read(), 20))
    finally:
        writer.close()


@pytest.fixture
async def ports(house: House, tmp_path: Path) -> AsyncIterator[Ports]:
    keys = make_keys(tmp_path / "keys", datetime.datetime.now(datetime.UTC))
    tls_port, plain_port = choose_port(), choose_port()
    certificate = Certificate(keys.certificate, keys.key)
    serving = [
        asyncio.create_task(listen_tls(house.door, "127.0.0.1", tls_port, certificate)),
        asyncio.create_task(listen_plain(house.door, "127.0.0.1", plain_port)),
    ]
    for port in (tls_port, plain_port):
        await eventually(lambda port=port: is_listening(port), timeout=30.0)
    yield Ports(tls_port, plain_port, ssl.create_default_context(cafile=str(keys.ca)))
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)


@pytest.mark.parametrize(("status", "requests"), ROWS.values(), ids=ROWS)
async def test_hyper_answers_these_with_an_empty_body_and_the_end_of_the_connection(
    ports: Ports, status: int, requests: list[bytes]
) -> None:
    for sent in requests:
        assert await ports.tls(sent) == [Answer(status, OF_HYPER, b"")], sent[:300]
    await ports.assert_live()


async def test_the_plain_port_answers_the_same_with_json_or_breaks_the_connection(ports: Ports) -> None:
    """Lengths that are too large for hyper are left out: uvicorn waits for so much."""
    rows = {name: requests for name, (_, requests) in ROWS.items() if name != "large lengths"}
    for sent in itertools.chain.from_iterable(rows.values()):
        for answer in await ports.plain(sent):
            answer.assert_is_spoken_to_a_host()
    await ports.assert_live()


async def test_what_is_no_http_behind_a_request_is_refused_after_its_answer(ports: Ports) -> None:
    first, second = await ports.tls(KEEPING + b"hello\r\n\r\n")

    assert json.loads(first.body)["error"] == "missing_node_key"
    assert second == Answer(400, OF_HYPER, b"")


async def test_who_begins_with_http_2_has_its_connection_closed(ports: Ports) -> None:
    assert await ports.tls(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == []


FINE_FRAMINGS = [counted(b"2"), counted(b"002"), counted(b" 2\t"), encoded(b"chunked"), encoded(b"gzip, CHUNKED")]
BARELY_RIGHT = [
    Request(lines=many(100)),
    Request(target=b"/".ljust(64 * KIB - 2, b"x")),
    Request(lines=(b"X" * (64 * KIB - 1) + b": 1",)),
    Request(lines=(b"X-A: " + b"x" * 390 * KIB,)),
    Request(target="/é?é".encode()),
    Request(framing=counted(b"2", b"2")),
    Request(framing=Framing((b"Content-Length: 12", b"Transfer-Encoding: chunked"), CHUNKED)),
    Request(method=b"post"),
    Request(method=b"CONNECT", target=b"x:443"),
]


async def test_what_hyper_lets_pass_is_answered_with_json(ports: Ports) -> None:
    for request in BARELY_RIGHT:
        (answer,) = await ports.tls(request.whole())
        for one in (answer, *await ports.plain(request.whole())):
            one.assert_is_spoken_to_a_host()


OSQUERY = ("enroll", "config", "distributed/read", "distributed/write", "log", "carve/begin", "carve/block", "nowhere")
FINE_TARGETS = [
    *(f"/api/v1/osquery/{path}".encode() for path in OSQUERY),
    *(b"/api/fleet/orbit/config", b"/api/latest/fleet/device/x/ping", b"/", b"*", b"//", b"/%", b"/%00%ff", b"/a#b"),
    *(b"/a?b=%20`{}|^", b"/{}|\\^", b"http://y" + PATH, PATH + b"?" + b"x" * 5000),
]
FINE_METHODS = [b"POST", b"POST", b"GET", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"PROPFIND"]
FINE_LINES = [
    *(b"X-A:", b"X-A: \xff", b"X-A: a\tb", b"!#$%&'*+-.^_`|~: 1", b"Host: /?#", b"Cookie: " + b"x" * 9000),
    *(b"Expect: 100-continue", b"Content-Encoding: gzip", b"Upgrade: h2c", b"Accept-Encoding: gzip"),
    *(b"Authorization: NodeKey x", b"Authorization: \xe9", b"X-Forwarded-For: \xe9", b"User-Agent: osquery/5.17.0"),
]
ODD = {
    "method": ODD_METHODS,
    "target": ODD_TARGETS,
    "version": NO_VERSIONS,
    "lines": ODD_LINES,
    "framing": ODD_FRAMINGS + HUGE_FRAMINGS,
}
FINE = st.builds(
    Request,
    method=st.sampled_from(FINE_METHODS),
    target=st.sampled_from(FINE_TARGETS),
    version=st.sampled_from([b" HTTP/1.1", b" HTTP/1.1", b" HTTP/1.0"]),
    lines=st.lists(st.sampled_from(FINE_LINES), max_size=5).map(tuple),
    framing=st.sampled_from(FINE_FRAMINGS),
).filter(lambda fine: fine.version == b" HTTP/1.1" or fine.framing.body != CHUNKED)


@st.composite
def spoilt(draw: st.DrawFn) -> Request:
    """A request that is fine but for one of its parts, or several."""
    request = draw(FINE)
    for part in draw(st.lists(st.sampled_from(sorted(ODD)), min_size=1, max_size=3, unique=True)):
        odd = draw(st.sampled_from(ODD[part]))
        request = replace(request, **{part: (*request.lines, odd) if part == "lines" else odd})
    return request


@FUZZ
@given(fine=FINE)
async def test_no_request_that_is_http_gets_an_empty_body(ports: Ports, fine: Request) -> None:
    for ask_port in (ports.tls, ports.plain):
        (answer,) = await ask_port(fine.whole())
        answer.assert_is_spoken_to_a_host()
    await ports.assert_live()


@FUZZ
@given(request_=spoilt())
async def test_one_odd_part_is_enough_for_hyper(ports: Ports, request_: Request) -> None:
    (answer,) = await ports.tls(request_.whole())

    assert answer.is_hypers
    await ports.assert_live()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A head with some bytes changed, never to a larger length: no more would come, and be waited for."""
    request = draw(FINE)
    head = request.head()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(head)))
        put = draw(st.binary(max_size=3) | st.sampled_from([b"\r\n", b"\r\n\r\n", b"\n", b" ", b":", b"\r\n "]))
        head = head[:at] + put.translate(None, b"0123456789") + head[at + draw(st.integers(0, 3)) :]
    return head + request.framing.body


@FUZZ
@given(sent=damaged())
async def test_whatever_comes_is_answered_with_json_or_as_hyper_does(ports: Ports, sent: bytes) -> None:
    """A good request goes behind it, on which the connection ends if it has not before."""
    sent += b"\r\n\r\n" + GOOD.whole()

    *firsts, last = await ports.tls(sent)
    for answer in (*firsts, *(() if last.is_hypers else (last,)), *await ports.plain(sent)):
        answer.assert_is_spoken_to_a_host()
    await ports.assert_live()
