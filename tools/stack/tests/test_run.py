"""`run` as a person starts it: real servers, edge and provisioning; stand-ins for the services."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flotilla_stack.testing import COMMAND, RunningStack

CHOOSE_PORTS = """
import json
from flotilla_stack.ports_plan import USUAL
from flotilla_stack.servers.ports import choose_port

print(json.dumps({name: choose_port() for name in USUAL}))
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for_the_end_of(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            select.select([descriptor], [], [], 20)
            os.close(descriptor)


def running(home: Path, services: Path) -> RunningStack:
    stand_ins = {"PYTHONPATH": str(services), "STAND_INS": str(services)}
    return RunningStack(home, "--without-simulator", environment=stand_ins)


def with_own_ports(home: Path) -> None:
    """Let a stack use ports that no other stack wants between two runs of it."""
    chosen = subprocess.run(
        [sys.executable, "-c", CHOOSE_PORTS], capture_output=True, text=True, check=True, timeout=30
    )
    home.mkdir(mode=0o700)
    (home / "ports.json").write_text(chosen.stdout)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, services: Path) -> Iterator[RunningStack]:
    with running(tmp_path_factory.mktemp("home") / "flotilla", services) as started:
        yield started


def test_dev_json_describes_everything_and_only_the_owner_may_read_it(stack: RunningStack) -> None:
    dev = stack.dev()

    assert dev["url"].startswith("https://localhost:")
    assert dev["admin"]["token"] == "the-token"
    assert dev["enroll_secret"] == "global-secret"
    assert {"url", "plain_url", "pid", "metrics_url"} == set(dev["gateways"][0])
    assert len(dev["gateways"]) == 2
    assert set(dev["services"]) >= {"inventory", "config-merger", "live-query", "log-shipper", "admin-api"}
    assert set(dev["servers"]) == {"postgres", "nats", "valkey", "s3", "edge"}
    assert set(dev["s3"]) == {"endpoint", "bucket", "key", "secret"}
    assert all(is_alive(pid) for pid in stack.pids())
    assert (stack.home / "dev.json").stat().st_mode & 0o777 == 0o600
    assert stack.home.stat().st_mode & 0o777 == 0o700


def test_nothing_that_holds_a_secret_is_readable_by_others(stack: RunningStack) -> None:
    files = ["secrets.json", "owner.json", "api_token", "enroll_secret", "curl.conf", "dev.json"]
    names = [*files, "keys/signing.key", "keys/server.key"]
    modes = {name: (stack.home / name).stat().st_mode & 0o077 for name in names}

    assert modes == dict.fromkeys(names, 0)


def test_no_password_stands_on_a_command_line(stack: RunningStack) -> None:
    secrets = json.loads((stack.home / "secrets.json").read_text())
    passwords = {*secrets["postgres"].values(), *secrets["nats"].values(), secrets["redis"]}
    lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in stack.pids()]

    assert not [line for line in lines if any(password in line for password in passwords)]


def test_the_screen_says_how_to_get_in_and_three_things_to_try(stack: RunningStack) -> None:
    dev, said = stack.dev(), stack.said
    words = [dev["url"], dev["admin"]["email"], dev["admin"]["password"], dev["enroll_secret"], dev["ca_file"]]
    commands = said.partition("Try")[2].split("Parts:")[0].split("\n")
    tried = [line.strip() for line in commands if line.strip()]

    assert [word for word in words if word not in said] == []
    assert f"osqueryd --flagfile {stack.home}/osquery.flags" in said
    assert [line.split()[0] for line in tried] == ["curl", "curl", "tail"]
    assert tried[0] == f"curl -K {stack.home}/curl.conf {dev['url']}/api/v1/fleet/hosts"
    assert "Note" not in said


def test_curl_speaks_with_the_token_that_no_password_change_ends(stack: RunningStack) -> None:
    lines = (stack.home / "curl.conf").read_text().splitlines()

    assert 'header = "Authorization: Bearer own-token"' in lines
    assert (stack.home / "api_token").read_text() == "own-token\n"


def test_a_second_run_beside_it_says_who_runs(stack: RunningStack) -> None:
    second = subprocess.run(
        [*COMMAND, "run", "--home", str(stack.home)], capture_output=True, text=True, check=False, timeout=30
    )

    assert second.returncode == 1
    assert f"already runs in {stack.home} (supervisor pid {stack.process.pid})" in second.stdout


def test_ctl_stops_a_server_and_starts_it_again(stack: RunningStack) -> None:
    before = stack.dev()["servers"]["valkey"]["pid"]
    stopped = stack.ctl("stop", "valkey").stdout
    gone = not is_alive(before)
    started = stack.ctl("start", "valkey").stdout
    after = stack.dev()["servers"]["valkey"]["pid"]

    assert "stopped" in stopped
    assert gone
    assert "ready" in started
    assert after not in {None, before}


def test_the_flagfile_names_every_endpoint_and_only_existing_files(stack: RunningStack) -> None:
    lines = (stack.home / "osquery.flags").read_text().splitlines()
    flags = dict(line.removeprefix("--").split("=", 1) for line in lines)

    assert flags["tls_hostname"] == stack.dev()["url"].removeprefix("https://")
    assert Path(flags["tls_server_certs"]).exists()
    assert Path(flags["enroll_secret_path"]).read_text().strip() == "global-secret"
    assert {name for name in flags if name.endswith("_endpoint")} == {
        "enroll_tls_endpoint",
        "config_tls_endpoint",
        "logger_tls_endpoint",
        "distributed_tls_read_endpoint",
        "distributed_tls_write_endpoint",
        "carver_start_endpoint",
        "carver_continue_endpoint",
    }


def test_a_stop_is_clean_and_the_next_run_goes_on_where_it_ended(tmp_path: Path, services: Path) -> None:
    home = tmp_path / "flotilla"
    with_own_ports(home)
    with running(home, services) as first:
        pids, before = first.pids(), first.dev()
        begun = time.monotonic()
        status = first.stop(signal.SIGINT)
        seconds = time.monotonic() - begun
        survivors = [pid for pid in pids if is_alive(pid)]
        described = (home / "dev.json").exists()
    with running(home, services) as second:
        after = second.dev()

    assert (status, survivors, described) == (0, [], False)
    assert seconds < 10
    assert after["admin"] == before["admin"]
    assert after["ports"] == before["ports"]
    assert after["postgres_url"] == before["postgres_url"]


PARENT = """
import os, sys
from pathlib import Path
from flotilla_stack.testing import RunningStack

stack = RunningStack(Path(sys.argv[1]), "--without-simulator")
stack.wait_until_ready()
print(stack.process.pid, *stack.pids(), flush=True)
os._exit(1)  # as pytest-timeout does
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the parent-death signal exists on Linux only")
def test_a_test_run_that_ends_at_once_leaves_no_stack(tmp_path: Path, services: Path) -> None:
    parent = subprocess.run(
        [sys.executable, "-c", PARENT, str(tmp_path / "flotilla")],
        env=os.environ | {"PYTHONPATH": str(services), "STAND_INS": str(services)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    pids = [int(word) for word in parent.stdout.split()]
    wait_for_the_end_of(pids)

    assert len(pids) > 10, parent.stderr
    assert not [pid for pid in pids if is_alive(pid)]
    assert not (tmp_path / "flotilla" / "dev.json").exists()


def test_killing_the_supervisor_leaves_no_process(tmp_path: Path, services: Path) -> None:
    with running(tmp_path / "flotilla", services) as stack:
        pids = stack.pids()
        stack.kill()
        wait_for_the_end_of(pids)
    survivors = [pid for pid in pids if is_alive(pid)]
    with running(tmp_path / "flotilla", services) as again:
        alive = all(is_alive(pid) for pid in again.pids())

    assert survivors == []
    assert alive
