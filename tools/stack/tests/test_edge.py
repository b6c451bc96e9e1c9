"""The edge never answers a host with an empty body, whatever its upstreams do."""

import datetime
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import websockets
from flotilla_stack.certificates import Keys, make_keys
from flotilla_stack.servers import Caddy, RunningServer, Upstreams
from flotilla_stack.servers.ports import choose_port

LOG = "/api/v1/osquery/log"
UNAVAILABLE = b'{"error":"unavailable"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
PROBE = b"HEAD /api/fleet/device/ping"
Behaviour = Callable[[socket.socket], None]


class FakeUpstream:
    """A TCP server that reads each request's head and then does what it is told: it stands for a dying gateway.

    It answers the edge that asks for its health, and keeps no such head.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.heads: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection: socket.socket) -> None:
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                received = connection.recv(65536)
                if not received:
                    return
                head += received
            if head.startswith(PROBE):
                answers(connection)
                return
            self.heads.append(head)
            self.behaviour(connection)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


MakeUpstream = Callable[[Behaviour], FakeUpstream]


def answers(connection: socket.socket) -> None:
    connection.sendall(OK.replace(b"Content-Type", b"Connection: close\r\nContent-Type"))


def says_nothing(connection: socket.socket) -> None:
    pass


def dies_after_headers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")


def dies_in_the_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")


def dies_in_the_head(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("keys"), datetime.datetime.now(datetime.UTC))


@pytest.fixture
def upstream() -> Iterator[MakeUpstream]:
    made: list[FakeUpstream] = []

    def make(behaviour: Behaviour) -> FakeUpstream:
        made.append(FakeUpstream(behaviour))
        return made[-1]

    yield make
    for fake in made:
        fake.close()


def edge(home: Path, keys: Keys, *gateways: int, admin: int | None = None) -> RunningServer[Caddy]:
    upstreams = Upstreams(gateways=gateways, admin=admin or choose_port())
    return RunningServer(
        Caddy(home / "edge", upstreams=upstreams, certificate=keys.certificate, key=keys.key, ca=keys.ca)
    )


def post(caddy: Caddy, path: str, body: bytes = b"{}", timeout: float = 10) -> tuple[int, bytes]:
    trust = ssl.create_default_context(cafile=str(caddy.ca))
    connection = http.client.HTTPSConnection("localhost", caddy.port, context=trust, timeout=timeout)
    try:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_living_gateway_is_used_with_the_callers_address(tmp_path: Path, keys: Keys, upstream: MakeUpstream) -> None:
    gateway = upstream(answers)
    with edge(tmp_path, keys, gateway.port) as caddy:
        answer = post(caddy, LOG)

    assert answer == (200, b"{}")
    assert b"X-Forwarded-For: 127.0.0.1" in gateway.heads[0]


def test_a_refused_connection_goes_to_the_other_gateway(tmp_path: Path, keys: Keys, upstream: MakeUpstream) -> None:
    gateway = upstream(answers)
    with edge(tmp_path, keys, choose_port(), gateway.port) as caddy:
        seen = {post(caddy, LOG) for _ in range(6)}

    assert seen == {(200, b"{}")}


@pytest.mark.parametrize("path", [LOG, "/api/osquery/config", "/api/fleet/orbit/ping", "/api/latest/fleet/device/x"])
def test_no_gateway_at_all_is_an_error_in_json(tmp_path: Path, keys: Keys, path: str) -> None:
    with edge(tmp_path, keys, choose_port(), choose_port()) as caddy:
        answer = post(caddy, path)

    assert answer == (503, UNAVAILABLE)


@pytest.mark.parametrize("prefix", ["/api/osquery", "/api/v1/osquery"])
def test_a_block_of_a_carve_that_finds_no_gateway_gets_what_the_carver_repeats_after(
    tmp_path: Path, keys: Keys, prefix: str
) -> None:
    with edge(tmp_path, keys, choose_port()) as caddy:
        block, begin = (post(caddy, f"{prefix}/carve/{path}") for path in ("block", "begin"))

    assert block == (503, b"error: unavailable")
    assert begin == (503, UNAVAILABLE)


@pytest.mark.parametrize("behaviour", [says_nothing, dies_in_the_head])
def test_a_gateway_that_dies_before_its_answer_is_an_error_in_json(
    tmp_path: Path, keys: Keys, upstream: MakeUpstream, behaviour: Behaviour
) -> None:
    with edge(tmp_path, keys, upstream(behaviour).port, upstream(behaviour).port) as caddy:
        seen = {post(caddy, LOG, b"x" * 300_000) for _ in range(4)}

    assert seen == {(503, UNAVAILABLE)}


@pytest.mark.parametrize("behaviour", [dies_after_headers, dies_in_the_body])
def test_a_gateway_that_dies_in_its_answer_never_makes_a_complete_one(
    tmp_path: Path, keys: Keys, upstream: MakeUpstream, behaviour: Behaviour
) -> None:
    with edge(tmp_path, keys, upstream(behaviour).port) as caddy, pytest.raises((http.client.HTTPException, OSError)):
        post(caddy, LOG)


def test_a_frozen_gateway_gets_no_more_requests(tmp_path: Path, keys: Keys, upstream: MakeUpstream) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as frozen,  # the kernel takes connections for it
        edge(tmp_path, keys, frozen.getsockname()[1], upstream(answers).port) as caddy,
    ):
        until = time.monotonic() + 20

        def is_left_alone() -> bool:
            try:
                return {post(caddy, LOG, timeout=0.5) for _ in range(6)} == {(200, b"{}")}
            except TimeoutError:
                return False

        while not is_left_alone():
            assert time.monotonic() < until


def test_a_dead_admin_api_is_an_error_in_the_dialect_of_people(tmp_path: Path, keys: Keys) -> None:
    with edge(tmp_path, keys, choose_port()) as caddy:
        status, body = post(caddy, "/api/v1/fleet/login")

    assert status == 503
    assert b'"message":"unavailable"' in body


def test_a_large_body_passes(tmp_path: Path, keys: Keys, upstream: MakeUpstream) -> None:
    received: list[int] = []

    def swallow(connection: socket.socket) -> None:
        connection.settimeout(5)
        count = len(gateway.heads[-1].split(b"\r\n\r\n", 1)[1])
        while count < 40_100_000:
            count += len(connection.recv(1 << 20))
        received.append(count)
        answers(connection)

    gateway = upstream(swallow)
    with edge(tmp_path, keys, gateway.port) as caddy:
        answer = post(caddy, LOG, b"x" * 40_100_000)

    assert answer == (200, b"{}")
    assert received


def test_paths_of_people_go_to_admin_api_and_hosts_paths_do_not(
    tmp_path: Path, keys: Keys, upstream: MakeUpstream
) -> None:
    gateway, admin = upstream(answers), upstream(answers)
    with edge(tmp_path, keys, gateway.port, admin=admin.port) as caddy:
        for path in ("/api/osquery/enroll", "/api/fleet/device/ping", "/api/2022-04/fleet/device/t/x"):
            post(caddy, path)
        for path in ("/", "/api/v1/fleet/hosts", "/api/v1/fleet/results/websocket", "/api/v1/setup"):
            post(caddy, path)

    assert (len(gateway.heads), len(admin.heads)) == (3, 4)


def test_what_orbit_is_told_of_the_server_passes(tmp_path: Path, keys: Keys, upstream: MakeUpstream) -> None:
    def says_what_it_can_do(connection: socket.socket) -> None:
        connection.sendall(
            OK.replace(b"Content-Type", b"X-Fleet-Capabilities: a,b\r\nConnection: close\r\nContent-Type")
        )

    gateway = upstream(says_what_it_can_do)
    with edge(tmp_path, keys, gateway.port) as caddy:
        trust = ssl.create_default_context(cafile=str(caddy.ca))
        connection = http.client.HTTPSConnection("localhost", caddy.port, context=trust, timeout=10)
        connection.request("HEAD", "/api/fleet/orbit/ping")
        answer = connection.getresponse()
        connection.close()

    assert (answer.status, answer.getheader("X-Fleet-Capabilities")) == (200, "a,b")


class Talkative(Caddy):
    """An edge that logs every request, as an operator may have it do who looks for a fault."""

    def text(self) -> str:
        return super().text().replace("level WARN", "level DEBUG")


def test_a_device_token_is_in_no_log_of_the_edge(tmp_path: Path, keys: Keys, upstream: MakeUpstream) -> None:
    upstreams = Upstreams(gateways=[upstream(says_nothing).port], admin=choose_port())
    running = RunningServer(
        Talkative(tmp_path / "edge", upstreams=upstreams, certificate=keys.certificate, key=keys.key, ca=keys.ca)
    )
    caddy = running.start()
    try:
        for version in ("v1", "2022-04", "latest"):
            assert post(caddy, f"/api/{version}/fleet/device/very-secret/refetch?x=1") == (503, UNAVAILABLE)
        assert post(caddy, "/device/very-secret?page")[0] == 503
    finally:
        running.stop()
    log = running.log_file.read_text(encoding="utf-8")

    assert log.count("/fleet/device/***/refetch?x=1") >= 3
    assert '"/device/***?page"' in log
    assert "very-secret" not in log


def test_only_http_1_1_is_offered(tmp_path: Path, keys: Keys, upstream: MakeUpstream) -> None:
    with edge(tmp_path, keys, upstream(answers).port) as caddy:
        trust = ssl.create_default_context(cafile=str(keys.ca))
        trust.set_alpn_protocols(["h2", "http/1.1"])
        with (
            socket.create_connection(("127.0.0.1", caddy.port)) as plain,
            trust.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
        ):
            protocol = tls.selected_alpn_protocol()

    assert protocol == "http/1.1"


def dies_between_chunks(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")


def test_a_gateway_that_dies_between_chunks_never_makes_a_complete_answer(
    tmp_path: Path, keys: Keys, upstream: MakeUpstream
) -> None:
    with edge(tmp_path, keys, upstream(dies_between_chunks).port) as caddy, pytest.raises(http.client.IncompleteRead):
        post(caddy, LOG)


async def test_websockets_of_people_pass(tmp_path: Path, keys: Keys) -> None:
    async def echo(connection: websockets.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with websockets.serve(echo, "127.0.0.1", 0) as server:
        admin = next(iter(server.sockets)).getsockname()[1]
        running = edge(tmp_path, keys, choose_port(), admin=admin)
        caddy = running.start()
        try:
            url = f"wss://localhost:{caddy.port}/api/v1/fleet/results/websocket"
            async with websockets.connect(url, ssl=ssl.create_default_context(cafile=str(keys.ca))) as client:
                await client.send("ahoy")
                answer = await client.recv()
        finally:
            running.stop()

    assert answer == "ahoy"
