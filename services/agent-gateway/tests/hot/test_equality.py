"""The hot road and the ordinary routes are one: the same bytes for the same request, odd ones above all, on both
servers, over real sockets.
"""

from __future__ import annotations

import asyncio
import datetime
import gzip
import itertools
import json
import random
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from agent_gateway.app import create_app
from agent_gateway.certificate import Certificate
from agent_gateway.deps import Deps
from agent_gateway.domain.roads import Road
from agent_gateway.hot.road import HotRoad
from agent_gateway.listeners import listen_plain, listen_tls
from agent_gateway.routes.door import Door
from flotilla_common.contracts.campaigns import CampaignCommand
from flotilla_common.testing import eventually
from flotilla_stack.certificates import make_keys
from flotilla_stack.servers.ports import choose_port
from granian.constants import Interfaces
from pyroaring import BitMap

from ..conftest import House
from ..listening import is_listening

ORBIT = "/orbit/config"
PATHS = ("/config", "/distributed/read", "/distributed/write", "/log", ORBIT)
CAMPAIGN = 5
KIB = 1024
Listen = Callable[[Door, str, int], Coroutine[Any, Any, None]]


@dataclass
class Twins:
    """The same gateway behind both roads, each on both servers: server -> ports of hot, and last that of routes.

    Granian serves hot twice: by RSGI, as it does for hosts, and by ASGI, the same callable as uvicorn's.
    """

    house: House
    ports: dict[str, list[int]]
    tls: ssl.SSLContext

    async def ask(self, server: str, port: int, request: bytes) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
        """Return status, headers but for the date, and body."""
        self._ask_again()
        context = self.tls if server == "granian" else None
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        headers = [tuple(line.split(b": ", 1)) for line in lines]
        return first.split(b" ")[1], [(n.lower(), v) for n, v in headers if n.lower() != b"date"], body

    def _ask_again(self) -> None:
        """Let host 1 be asked by a campaign for the first time."""
        campaigns, now = self.house.gateway.campaigns, time.time()
        campaigns.end(CAMPAIGN, now + 3600)  # after its deadline: who was asked is forgotten
        command = CampaignCommand(CAMPAIGN, "SELECT 1", now, now + 600, "", b"")
        campaigns.start(command, BitMap([1]), now)

    async def agree(self, request: bytes, *, on_both: bool = True) -> bytes:
        """Assert that both roads answer alike, and the same on both servers; return the body.

        Not `on_both`: a server may have its own word on such a request.
        """
        bodies = []
        for server, ports in self.ports.items():
            *hot, routes = [await self.ask(server, port, request) for port in ports]
            for way, answer in enumerate(hot):
                assert answer == routes, (server, way, request[:2000])
            bodies.append(routes[2])
        assert not on_both or bodies[0] == bodies[1], request[:2000]
        return bodies[0]


@pytest.fixture
async def twins(house: House, tmp_path: Path) -> AsyncIterator[Twins]:
    keys = make_keys(tmp_path / "keys", datetime.datetime.now(datetime.UTC))
    certificate = Certificate(keys.certificate, keys.key)
    hot, routes = create_app(Deps(house.gateway)), create_app(Deps(house.gateway), is_hot=False)
    rsgi = partial(listen_tls, certificate=certificate)
    asgi = partial(listen_tls, certificate=certificate, interface=Interfaces.ASGINL)
    ways: dict[str, list[tuple[Listen, Door]]] = {
        "granian": [(rsgi, hot), (asgi, hot), (asgi, routes)],
        "uvicorn": [(listen_plain, hot), (listen_plain, routes)],
    }
    ports = {server: [choose_port() for _ in found] for server, found in ways.items()}
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(listen(door, "127.0.0.1", port))
            for server, found in ways.items()
            for (listen, door), port in zip(found, ports[server], strict=True)
        ]
        context = ssl.create_default_context(cafile=str(keys.ca))
        for port in itertools.chain(*ports.values()):
            await eventually(lambda port=port: is_listening(port), timeout=30.0)
        yield Twins(house, ports, context)
        for task in running:
            task.cancel()


def request(
    path: str,
    body: bytes | object = b"",
    *headers: str,
    method: str = "POST",
    prefix: str = "/api/v1/osquery",
    chunks: int = 0,
) -> bytes:
    """Return a whole request; with `chunks` its body goes in pieces of that size.

    Orbit's path has another prefix, and the only one that it has.
    """
    if path.startswith(ORBIT) and prefix in {"/api/v1/osquery", "/api/osquery"}:
        prefix = "/api/fleet"
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {prefix}{path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    if chunks:
        pieces = [content[at : at + chunks] for at in range(0, len(content), chunks)]
        content = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        lines.append("Transfer-Encoding: chunked")
    else:
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def usual(key: str) -> dict[str, object]:
    """Return what a host posts to each path."""
    name = f"fleet_distributed_query_{CAMPAIGN}_1"
    return {
        "/config": {"node_key": key},
        "/distributed/read": {"node_key": key},
        "/distributed/write": {"node_key": key, "queries": {name: [{"a": "1"}]}, "statuses": {name: 0}},
        "/log": {"node_key": key, "log_type": "result", "data": [{"a": 1}, {"b": [2]}]},
        ORBIT: {"orbit_node_key": key},
    }


def enrolled(twins: Twins, path: str, host_id: int) -> str:
    """Return the key that the path takes, of a host that is known to inventory."""
    inventory = twins.house.inventory
    return inventory.add_orbit(host_id) if path == ORBIT else inventory.add_host(host_id)


def enrolled_once(twins: Twins, host_id: int) -> dict[str, str]:
    """Return the key that each path takes: all of one host, but for orbit's."""
    node, orbit = enrolled(twins, "/config", host_id), enrolled(twins, ORBIT, host_id + 100)
    return {path: orbit if path == ORBIT else node for path in PATHS}


@pytest.mark.parametrize("path", PATHS)
async def test_keys_in_all_places_and_shapes(twins: Twins, path: str) -> None:
    key, quiet = enrolled(twins, path, 1), enrolled(twins, path, 2)
    member = "orbit_node_key" if path == ORBIT else "node_key"
    for name in (key, quiet):
        body = usual(name)[path]
        assert b"error" not in await twins.agree(request(path, body))
        await twins.agree(request(path, body, prefix="/api/osquery"))
        await twins.agree(request(path, body, f"Authorization: NodeKey {name}"))
        await twins.agree(request(path, body, "Authorization: NodeKey other"))
        await twins.agree(request(path, body, "Authorization: Bearer x", f"Authorization: NodeKey {name}"))
        await twins.agree(request(path, {**body, member: ""}, f"authorization: NodeKey  {name} "))  # type: ignore[dict-item]
        await twins.agree(request(path, {**body, member: None}, "Authorization: NodeKey"))  # type: ignore[dict-item]
    for value in ("", None, 5, True, [], {}, "nobody", "é", "\ud800", "x" * 5000, f" {key}", key.upper()):
        answer = json.loads(await twins.agree(request(path, {**usual(key)[path], member: value})))  # type: ignore[dict-item]
        assert "error" in answer
    twice = b'{"%s":"nobody","%s":"%s"}' % (member.encode(), member.encode(), key.encode())
    await twins.agree(request(path, twice))


@pytest.mark.parametrize("path", PATHS)
async def test_bodies_that_no_host_sends(twins: Twins, path: str) -> None:
    key = enrolled(twins, path, 1)
    whole = json.dumps(usual(key)[path]).encode()
    odd = [b"", b" ", b"null", b"[]", b"5", b'"x"', b"true", b"{", b"}", b"{}", b"{}{}", b"\xff", b"\x00", whole[:-1]]
    odd += [whole + b" \n", b"\xef\xbb\xbf" + whole, whole.replace(b"{", b"{\n", 1), whole + b"x", whole + b"\x00"]
    odd += [b"[" * 5000, b'{"a":' * 2000 + b"1" + b"}" * 2000, whole[:-1] + b',"n":1e999}', whole[:-1] + b',"n":NaN}']
    odd += [whole[:-1] + b',"x":"\xc3"}', whole[:-1] + b',"x":"\\ud800"}', whole[:-1] + b',"x":"\x01"}']
    odd += [whole[:-1] + b',"x":"' + "é😀".encode() + b'"}', whole[:-1] + b',"n":' + b"9" * 5000 + b"}"]
    odd += [whole[:-1] + b',"pad":"' + b"y" * (70 * KIB) + b'"}', whole[:-1] + b',"x":' + whole * 1 + b"}"]
    for body in odd:
        await twins.agree(request(path, body))


@pytest.mark.parametrize("path", PATHS)
async def test_compression_and_pieces(twins: Twins, path: str) -> None:
    key = enrolled(twins, path, 1)
    whole = json.dumps(usual(key)[path]).encode()
    packed = gzip.compress(whole)
    for body in (packed, packed[:-3], packed + b"x", packed + packed, b"", whole, gzip.compress(b" " * (200 * KIB))):
        await twins.agree(request(path, body, "Content-Encoding: gzip"))
    for name in ("GZIP", "gzip ", "identity", "deflate", "gzip, gzip", ""):
        await twins.agree(request(path, packed, f"Content-Encoding: {name}"))
        await twins.agree(request(path, whole, f"Content-Encoding: {name}"))
    await twins.agree(request(path, packed, "Content-Encoding: gzip", "Content-Encoding: identity"))
    await twins.agree(request(path, whole, "Content-Encoding: identity", "Content-Encoding: gzip"))
    for size in (1, 7, 1000):
        await twins.agree(request(path, whole, chunks=size))
        await twins.agree(request(path, packed, "Content-Encoding: gzip", chunks=size))


@pytest.mark.parametrize("path", PATHS)
async def test_methods_paths_and_clients(twins: Twins, path: str) -> None:
    key = enrolled(twins, path, 1)
    body = usual(key)[path]
    for method in ("GET", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD", "post"):
        await twins.agree(request(path, body, method=method), on_both=False)
    for other in (
        path + "/",
        path + "?node_key=x",
        "/" + path,
        path.replace("d", "%64"),
        path.upper(),
        path + "/../log",
    ):
        await twins.agree(request(other, body), on_both=False)
    for prefix in ("", "/api", "/api/v2/osquery", "/api/latest/osquery"):
        await twins.agree(request(path, body, prefix=prefix))
    for agent in ("osquery/5.17.0", "osquery/6.0.0", "orbit/1", "", "osquery/4.0.2", "osquery/x"):
        await twins.agree(request(path, body, f"User-Agent: {agent}"))


async def test_etags_in_all_shapes(twins: Twins) -> None:
    key = twins.house.inventory.add_host(2)
    with_etag = json.loads(await twins.agree(request("/config", {"node_key": key, "etag": ""})))
    unchanged = await twins.agree(request("/config", {"node_key": key, "etag": with_etag["etag"]}))
    assert json.loads(unchanged) == {"etag": "ok"}
    for etag in (None, 5, [], {}, True, "other", "\ud800", with_etag["etag"] + " "):
        await twins.agree(request("/config", {"node_key": key, "etag": etag}))


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many posts to each endpoint took no task."""
    found: Counter[str] = Counter()
    begin = HotRoad.begin

    def note(self: HotRoad, road: Road, *arguments: Any, **more: Any) -> bool:
        taken = begin(self, road, *arguments, **more)
        found[road.endpoint] += taken
        return taken

    monkeypatch.setattr(HotRoad, "begin", note)
    return found


async def test_lines_and_results_in_all_shapes(twins: Twins, begun: Counter[str]) -> None:
    key = twins.house.inventory.add_host(1)
    for data in (None, [], {}, "x", [None, 1, "x", [], {"a": "\n"}], [{}] * 3000, [{"a": "é"}], [{"a": 1e400}]):
        for log_type in ("result", "status", "other", "", None, 5, [1]):
            await twins.agree(request("/log", {"node_key": key, "log_type": log_type, "data": data}))
    name = f"fleet_distributed_query_{CAMPAIGN}_1"
    names = (
        name,
        f"fleet_distributed_query_{CAMPAIGN}",
        "fleet_distributed_query_99_1",
        "fleet_detail_query_x",
        "",
        "é",
    )
    texts = itertools.cycle((None, ["x"], ""))  # None: of each name
    for rows in ([{"a": "1"}], [], "", None, 5, {}, [1], [{"a": 1}], [{"a": None, "b": True, "c": [1]}]):
        for status in (0, 1, "0", "x", None, [], 2**70):
            queries = dict.fromkeys(names, rows)
            statuses, stats = dict.fromkeys(names, status), {one: {"memory": status} for one in names}
            messages = next(texts) or dict.fromkeys(names, status)
            body = {"statuses": statuses, "messages": messages, "stats": stats}
            await twins.agree(request("/distributed/write", {"node_key": key, "queries": queries} | body))
    for queries in (None, 5, [], "x"):
        await twins.agree(request("/distributed/write", {"node_key": key, "queries": queries}))
    assert begun["distributed_write"] > 100
    assert begun["log"] > 50


async def test_a_thousand_damaged_requests(twins: Twins) -> None:
    keys = enrolled_once(twins, 1)
    seed = random.randrange(10**9)
    chance = random.Random(seed)
    for number in range(200):
        path = chance.choice(PATHS)
        body = bytearray(json.dumps(usual(keys[path])[path]).encode())
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(body))
            if chance.random() < 0.5:
                body[at] = chance.randrange(256)
            else:
                body[at:at] = chance.choice((b"\\", b'"', b"{", b"]", b"\\u0000", b"\xf0\x9f", b"1e5", b"null"))
        try:
            answer = await twins.agree(request(path, bytes(body)))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, number {number}") from error
        assert answer.startswith(b"{"), (seed, number)


async def test_while_nobody_answers(twins: Twins) -> None:
    known, unknown = enrolled_once(twins, 1), enrolled_once(twins, 2)
    for path in PATHS:
        await twins.agree(request(path, usual(known[path])[path]))
    twins.house.inventory.down = True
    twins.house.gateway.silence = lambda: 61.0
    for path in PATHS:
        for key in (known[path], unknown[path], "nobody"):
            answer = json.loads(await twins.agree(request(path, usual(key)[path])))
            assert "node_invalid" not in answer


async def test_while_something_is_short(twins: Twins) -> None:
    known, greedy = enrolled_once(twins, 1), enrolled_once(twins, 2)
    admission = twins.house.gateway.admission
    for path in PATHS:
        for keys in (known, greedy):
            await twins.agree(request(path, usual(keys[path])[path]))
    for gate in admission.gates:
        gate.measured(99, 100)
    admission.take_bytes("log", 2, 10**12)
    admission.failures.take("127.0.0.1", 10**9)
    for path in PATHS:
        for key in (known[path], greedy[path], "nobody"):
            for extra in ("", f"Authorization: NodeKey {key}"):
                answer = json.loads(await twins.agree(request(path, usual(key)[path], *([extra] if extra else []))))
                assert "node_invalid" not in answer
        await twins.agree(request(path, b"x" * (2 * 1024 * KIB)))
    for gate in admission.gates:
        gate.measured(1, 100)
    for key in (known["/log"], greedy["/log"], "nobody"):
        for extra in ((), (f"Authorization: NodeKey {key}",)):
            await twins.agree(request("/log", usual(key)["/log"], *extra))


async def test_chunks_that_break_off_store_nothing_though_they_are_a_whole_object(twins: Twins) -> None:
    key, counters = enrolled(twins, "/log", 1), twins.house.gateway.counters
    whole = request("/log", usual(key)["/log"], chunks=1000)
    for server, port in ((server, port) for server, (*hot, _) in twins.ports.items() for port in hot):
        context = twins.tls if server == "granian" else None
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(whole[:-5])
        await eventually(lambda: counters.requests["log"])
        counters.requests.clear()
        writer.close()
    await eventually(lambda: counters.failures["malformed_body"] == 1)  # of granian, where it has a reader still
    assert counters.lines == {}
    *_, refused = await twins.ask("granian", twins.ports["granian"][0], whole[:-2] + b"X-Name: trailer\r\n\r\n")
    assert json.loads(refused)["error"] == "malformed_body"
    assert await twins.agree(whole) == b"{}"
