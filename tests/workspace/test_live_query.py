"""The example of the live-query API: what it says of the frames that admin-api makes, and of what goes wrong."""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import termios
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import httpx2
import pytest
from admin_api.domain.campaign_progress import HostNames, Progress, missing_message, result_message
from admin_api.errors import LiveQueriesOff
from admin_api.routes.envelope import answer_for
from admin_api.store.campaign_rows import MissingAnswers, RowsEntry
from admin_api.store.campaigns import Standing
from admin_api.store.host_summary import HostTotals
from flotilla_common.testing import eventually
from flotilla_stack.certificates import make_keys
from websockets.asyncio.server import serve

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "live_query.py"
NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("live_query", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def home(tmp_path):
    """Return the folder of a stack that runs no more, at a port that nobody listens to."""
    keys = make_keys(tmp_path / "keys", datetime.now(UTC))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    dev = {"url": f"https://127.0.0.1:{port}", "ca_file": str(keys.ca)}
    (tmp_path / "dev.json").write_text(json.dumps(dev), "utf-8")
    (tmp_path / "api_token").write_text("token\n", "utf-8")
    return tmp_path


@pytest.fixture
def viewer(module, home):
    found = module.Viewer(home)
    found.campaign_id = 7
    return found


def totals(total, online) -> HostTotals:
    return HostTotals(total=total, online=online, missing=0, new=0)


def answer(host_id, **more) -> RowsEntry:
    return RowsEntry(f"{host_id}-0", host_id=host_id, **({"outcome": "answered", "rows": b'[{"n":"1"}]'} | more))


def show(viewer, *texts) -> None:
    for text in texts:
        viewer.take(json.loads(text))


def test_progress_is_of_the_targeted_hosts_although_some_go_offline(viewer, capsys):
    progress = Progress()
    show(viewer, *progress.news(totals(22, 22), ended=False))
    progress.count(answer(1))
    show(viewer, *progress.news(totals(22, 21), ended=False))
    show(viewer, *progress.news(totals(22, 20), ended=False))
    for host_id in range(2, 21):
        progress.count(answer(host_id))
    show(viewer, *progress.news(totals(22, 20), ended=False))

    assert capsys.readouterr().err.splitlines() == [
        "22 hosts targeted, 22 of them online",
        "1 of 22 hosts answered",
        "20 of 22 hosts answered",
    ]
    assert viewer.tally.is_finished
    assert viewer.tally.end() == "20 of 22 hosts answered, 0 of them with an error; 2 hosts were offline and not asked"
    assert not viewer.tally.is_short


def test_a_live_query_that_ends_early_says_how_many_hosts_online_had_not_answered(viewer):
    progress = Progress()
    progress.count(answer(1))
    show(viewer, *progress.news(totals(4, 3), ended=True))

    assert viewer.tally.end() == (
        "1 of 4 hosts answered, 0 of them with an error; the live query was ended before 2 hosts online had answered; "
        "1 host was offline and not asked"
    )
    assert viewer.tally.is_short


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        (Standing(paused_at=NOW, pause_reason="over\x1b budget"), "paused since 2026-11-27T12:00:00Z: over? budget"),
        (Standing(is_halted=True), "an administrator has turned live queries off"),
    ],
)
def test_what_keeps_hosts_from_being_asked_is_said_once(viewer, capsys, standing, words):
    progress = Progress()
    show(viewer, *progress.news(totals(3, 3), standing, ended=False))
    show(viewer, *progress.news(totals(3, 2), standing, ended=False))

    assert capsys.readouterr().err.count(words) == 1
    assert words in viewer.tally.held


def test_answers_that_are_lost_are_told_and_not_asked_for_again(viewer, capsys):
    show(viewer, missing_message(7, MissingAnswers("1-0", "9-0", 12, "damaged")))

    assert "answers of up to 12 hosts are lost: what was kept of them is damaged" in capsys.readouterr().err
    assert viewer.last == "9-0"
    assert viewer.tally.is_short
    assert "answers of up to 12 are lost" in viewer.tally.end()


def test_rows_go_to_standard_output_and_errors_of_hosts_beside_it(viewer, capsys):
    show(viewer, result_message(7, answer(1), HostNames("db\n1", "db-1")))
    show(viewer, result_message(7, answer(2, outcome="failed", error="no such \x1btable"), HostNames("web-1", "web-1")))
    show(viewer, json.dumps({"type": "something new", "data": {}}))
    said = capsys.readouterr()

    assert said.out.startswith('db?1 {"n": "1"')
    assert said.err == "web-1: no such ?table\n"
    assert viewer.tally.failed == 1


async def test_a_connection_that_breaks_goes_on_behind_the_last_answer(module, viewer, home, capsys, monkeypatch):
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.01)
    progress, selections = Progress(), []

    async def serve_viewer(connection):
        await connection.recv()
        selections.append(json.loads(await connection.recv())["data"])
        host_id = len(selections)
        entry = answer(host_id)
        progress.count(entry)
        await connection.send(result_message(7, entry, HostNames(f"web-{host_id}", f"web-{host_id}")))
        for text in progress.news(totals(2, 2), ended=False):
            await connection.send(text)
        if host_id == 1:
            connection.transport.abort()
        await connection.wait_closed()

    keys = make_keys(home / "keys", datetime.now(UTC))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(keys.certificate, keys.key)
    async with serve(serve_viewer, "127.0.0.1", 0, ssl=context) as server:
        viewer.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await viewer.watch()

    said = capsys.readouterr()
    assert selections == [{"campaign_id": 7}, {"campaign_id": 7, "last": "1-0"}]
    assert [line.split()[0] for line in said.out.splitlines()] == ["web-1", "web-2"]
    assert "the connection broke" in said.err
    assert viewer.tally.is_finished


UNREAD = """
import json, runpy, sys

module = runpy.run_path(sys.argv[1])
frame = {"type": "result", "data": {"host": {"hostname": "web-1"}, "rows": [{"n": "1" * 1000}]}}

class Socket:
    async def send(self, text):
        pass

    async def recv(self):
        return json.dumps(frame)

async def watch(viewer):
    await viewer._converse(Socket())

module["Viewer"].start, module["Viewer"].watch = (lambda viewer, sql: None), watch
sys.argv = ["live_query", "--home", sys.argv[2], "SELECT 1"]
sys.exit(module["main"]())
"""


async def test_ctrl_c_ends_it_also_while_nobody_takes_its_rows(home):
    reading, writing = os.pipe()
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # it is for most people
    words = [sys.executable, "-c", UNREAD, str(SCRIPT), str(home)]
    running = await asyncio.create_subprocess_exec(*words, stdout=writing, env=usual)
    os.close(writing)
    try:
        capacity = fcntl.fcntl(reading, fcntl.F_GETPIPE_SZ)
        await eventually(lambda: bytes_waiting(reading) > capacity - 5000)
        running.send_signal(signal.SIGINT)
        async with asyncio.timeout(20):
            assert await running.wait() == 2
    finally:
        if running.returncode is None:
            running.kill()
        os.close(reading)


def bytes_waiting(pipe) -> int:
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]


def test_a_refusal_is_a_sentence(module):
    reply = answer_for(LiveQueriesOff())

    with pytest.raises(module.Ended) as ended:
        module.answer_of(httpx2.Response(reply.status_code, content=bytes(reply.body)))

    assert str(ended.value).startswith("refused with 403: live queries are disabled by administrator")


def run(home: Path) -> tuple[int, str]:
    command = [sys.executable, str(SCRIPT), "--home", str(home), "SELECT 1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_without_a_running_stack_it_says_so(tmp_path):
    status, words = run(tmp_path)

    assert (status, f"no running Flotilla in {tmp_path}" in words, words.count("\n")) == (2, True, 1)


def test_a_stack_that_does_not_answer_is_told_apart(home):
    status, words = run(home)

    assert (status, "is `make run` still running?" in words, words.count("\n")) == (2, True, 1)


def test_what_to_do_later_names_the_folder_that_was_given(viewer, home):
    assert f"curl -K {home}/curl.conf " in viewer.later()
