"""The supervisor with small stand-in parts: order, restarts, `ctl`, and nothing left behind."""

import asyncio
import contextlib
import io
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from flotilla_stack import keeper
from flotilla_stack.control import ControlError, ask, listen
from flotilla_stack.output import Console
from flotilla_stack.part import Layer, Part
from flotilla_stack.supervisor import NotReadyError, Supervisor, supervised

SLEEP = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


def part(name: str, code: str, layer: Layer = Layer.SERVICE, **more: object) -> Part:
    return Part(name=name, layer=layer, command=lambda: [sys.executable, "-c", code], **more)  # type: ignore[arg-type]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def eventually(predicate: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not predicate():  # noqa: ASYNC110 - what we wait for happens in other processes
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running(tmp_path: Path, *parts: Part, console: Console | None = None) -> AsyncIterator[Supervisor]:
    async with supervised(console or Console(io.StringIO()), tmp_path / "logs") as supervisor:
        supervisor.add(parts)
        yield supervisor


def pid_of(supervisor: Supervisor, name: str) -> int:
    pid = supervisor.keepers[name].pid
    assert pid is not None
    return pid


async def test_a_part_starts_after_what_it_needs_is_ready(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    first = part(
        "first", f"import time; time.sleep(0.3); open({str(flag)!r}, 'w'); time.sleep(600)", is_ready=flag.exists
    )
    step = part("step", f"import os, sys; sys.exit(not os.path.exists({str(flag)!r}))", needs=("first",), once=True)
    async with running(tmp_path, part("last", SLEEP, needs=("step",)), step, first) as supervisor:
        await supervisor.all_ready()
        states = {name: keeper.state for name, keeper in supervisor.keepers.items()}

    assert states == {"last": "ready", "step": "finished", "first": "ready"}


async def test_a_killed_part_comes_back_with_another_pid(tmp_path: Path) -> None:
    async with running(tmp_path, part("a", SLEEP)) as supervisor:
        await supervisor.all_ready()
        before = pid_of(supervisor, "a")
        os.kill(before, signal.SIGKILL)
        await eventually(lambda: supervisor.keepers["a"].pid not in {None, before})
        restarts = supervisor.keepers["a"].restarts

    assert restarts == 1


async def test_pauses_between_restarts_grow(tmp_path: Path) -> None:
    said = io.StringIO()
    async with running(tmp_path, part("a", "raise SystemExit(3)"), console=Console(said)):
        await eventually(lambda: said.getvalue().count("starting it again") == 3)

    assert "a ended with status 3; starting it again in 0.5 s" in said.getvalue()
    assert "again in 2 s" in said.getvalue()


async def test_stopping_kills_stubborn_parts_and_their_children(tmp_path: Path) -> None:
    child = f"subprocess.Popen([sys.executable, '-c', {STUBBORN!r}])"
    code = f"import subprocess, sys; print({child}.pid, flush=True)\n{STUBBORN}"
    async with running(tmp_path, part("a", code, layer=Layer.CLIENT), part("b", SLEEP)) as supervisor:
        log = tmp_path / "logs/a.log"
        await eventually(lambda: log.read_text().count("up") == 2)
        pids = [pid_of(supervisor, "a"), pid_of(supervisor, "b"), int(log.read_text().split()[0])]
        begun = time.monotonic()

    assert not [pid for pid in pids if is_alive(pid)]
    assert time.monotonic() - begun < 5


async def test_a_failing_step_ends_the_start_with_its_log(tmp_path: Path) -> None:
    async with running(tmp_path, part("step", "raise SystemExit('no database')", once=True)) as supervisor:
        with pytest.raises(NotReadyError, match="no database"):
            await supervisor.all_ready()


async def test_a_part_that_is_never_ready_is_named_with_its_log(tmp_path: Path) -> None:
    never = part("slow", "print('thinking', flush=True)\n" + SLEEP, is_ready=lambda: False)
    async with running(tmp_path, never) as supervisor:
        with pytest.raises(NotReadyError, match=r"slow is starting(?s:.*)thinking"):
            await supervisor.all_ready(seconds=1)


async def test_ctl_stop_is_not_undone_and_start_brings_it_back(tmp_path: Path) -> None:
    socket = tmp_path / "control.sock"
    async with running(tmp_path, part("a", SLEEP)) as supervisor, listen(socket, supervisor):
        await supervisor.all_ready()
        pid = pid_of(supervisor, "a")
        await asyncio.to_thread(ask, socket, "stop", "a")
        stopped = not is_alive(pid)
        await asyncio.sleep(1)
        still_stopped = supervisor.keepers["a"].pid is None
        answer = await asyncio.to_thread(ask, socket, "start", "a")
        mode = socket.stat().st_mode & 0o777

    assert stopped
    assert still_stopped
    assert answer["state"] == "ready"
    assert mode == 0o600


async def test_ctl_start_ends_the_pause_after_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "BACKOFF_SECONDS", (600.0,))
    socket = tmp_path / "control.sock"
    async with running(tmp_path, part("a", SLEEP)) as supervisor, listen(socket, supervisor):
        await supervisor.all_ready()
        before = pid_of(supervisor, "a")
        os.kill(before, signal.SIGKILL)
        await eventually(lambda: supervisor.keepers["a"].state == "crashed")
        async with asyncio.timeout(10):
            answer = await asyncio.to_thread(ask, socket, "start", "a")

    assert answer["state"] == "ready"
    assert answer["pid"] != before


async def test_ctl_kill_leaves_it_dead(tmp_path: Path) -> None:
    socket = tmp_path / "control.sock"
    async with running(tmp_path, part("a", STUBBORN)) as supervisor, listen(socket, supervisor):
        await supervisor.all_ready()
        pid = pid_of(supervisor, "a")
        await asyncio.to_thread(ask, socket, "kill", "a")
        await asyncio.sleep(1)
        state, alive = supervisor.keepers["a"].state, is_alive(pid)

    assert (state, alive) == ("killed", False)


async def test_ctl_pause_freezes_and_resume_continues(tmp_path: Path) -> None:
    socket = tmp_path / "control.sock"

    def kernel_state(pid: int) -> str:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]

    async with running(tmp_path, part("a", SLEEP)) as supervisor, listen(socket, supervisor):
        await supervisor.all_ready()
        pid = pid_of(supervisor, "a")
        await asyncio.to_thread(ask, socket, "pause", "a")
        await eventually(lambda: kernel_state(pid) == "T")
        await asyncio.to_thread(ask, socket, "resume", "a")
        await eventually(lambda: kernel_state(pid) != "T")
        await asyncio.to_thread(ask, socket, "pause", "a")

    assert not is_alive(pid)


async def test_ctl_names_the_parts_when_it_is_given_a_wrong_one(tmp_path: Path) -> None:
    socket = tmp_path / "control.sock"
    async with running(tmp_path, part("a", SLEEP)) as supervisor, listen(socket, supervisor):
        with pytest.raises(ControlError, match="no such part: b; there are a"):
            await asyncio.to_thread(ask, socket, "stop", "b")


def test_ctl_says_so_when_nothing_runs(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="nothing runs"):
        ask(tmp_path / "control.sock", "status", None)


PARENT = f"""
import asyncio, os, signal, sys
from pathlib import Path
from flotilla_stack.output import Console
from flotilla_stack.part import Layer, Part
from flotilla_stack.supervisor import Supervisor

CHILD = '''import subprocess, sys; print(subprocess.Popen([sys.executable, "-c", {STUBBORN!r}]).pid, flush=True)
{STUBBORN}'''

async def main():
    supervisor = Supervisor(Console(sys.stderr), Path("logs"))
    supervisor.add([Part(name="a", layer=Layer.SERVICE, command=lambda: [sys.executable, "-c", CHILD])])
    log = Path("logs/a.log")
    while log.read_text().count("up") != 2:
        await asyncio.sleep(0.02)
    print(supervisor.keepers["a"].pid, log.read_text().split()[0], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_no_process_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    parent = subprocess.run(
        [sys.executable, "-c", PARENT], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30
    )
    pids = [int(word) for word in parent.stdout.split()]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            select.select([descriptor], [], [], 10)
            os.close(descriptor)

    assert len(pids) == 2, parent.stderr
    assert not [pid for pid in pids if is_alive(pid)]


async def test_what_follows_readiness_is_tried_again_until_it_works(tmp_path: Path) -> None:
    tries: list[int] = []

    def finish() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("not yet")

    async with running(tmp_path, part("a", SLEEP, finish=finish)) as supervisor:
        await supervisor.all_ready()

    assert len(tries) == 3


async def test_a_part_that_cannot_be_prepared_ends_the_start_with_the_reason(tmp_path: Path) -> None:
    def prepare() -> None:
        raise RuntimeError("disk full")

    async with running(tmp_path, part("a", SLEEP, prepare=prepare)) as supervisor:
        with pytest.raises(NotReadyError, match="disk full"):
            await supervisor.all_ready()
