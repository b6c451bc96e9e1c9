"""`make test`: everything that must be green, or one part of it (`make test S=live-query`).

Runs style, types and imports first (seconds), then every test on real servers, in parallel. Prints how long each step
took; ends with the first step that fails.

The servers' data is kept in memory where there is room, else in the usual temporary directory: on a busy disk a server
that syncs one small file can stand still for many seconds. TMPDIR, if it is set, wins.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PARTS = ("libs", "services", "tools")
TESTS = Path("tests")
"""Its folders are parts too; they have no types to check, as `exclude` of mypy in pyproject.toml says."""

MEMORY = Path("/dev/shm")  # noqa: S108 - a place to look at; what is made there has a name of its own
PREFIX = "flotilla-test-run-"
ROOM_BYTES = 6 * 1024**3
"""What must be free in memory; a whole run takes up to 1.5 GiB of it."""
CGROUP = Path("/sys/fs/cgroup")  # a container's own limit, where it has one (Linux: cgroup v2)
ENDING_SECONDS = 60.0
"""How long tests have to stop their servers when the run is ended early."""


def main() -> int:
    """Run all steps, or those of one part."""
    part = find_part(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1] else None
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, told_to_end)
    with temporary_directory() as temporary:
        status = run_all(steps(part), os.environ | {"TMPDIR": temporary})
        if status and Path(temporary).is_relative_to(MEMORY) and "TMPDIR" not in os.environ:
            print(
                "== files of failed tests were in memory and are gone: TMPDIR=/var/tmp make test keeps them", flush=True
            )
    return status


class Told(KeyboardInterrupt):
    """A signal came to us alone; Ctrl-C comes to what we started too."""


def told_to_end(_number: int, _frame: object) -> None:
    """End as with Ctrl-C."""
    raise Told


def run_all(steps: list[tuple[str, list[str]]], environment: dict[str, str]) -> int:
    """Run the steps until one fails; return its status."""
    started = time.monotonic()
    for name, command in steps:
        print(f"== {name}", flush=True)
        began = time.monotonic()
        status = run(command, environment)
        print(f"== {name}: {'ok' if status == 0 else 'FAILED'} in {time.monotonic() - began:.0f} s", flush=True)
        if status != 0:
            return status
    print(f"== all green in {time.monotonic() - started:.0f} s", flush=True)
    return 0


def run(command: list[str], environment: dict[str, str]) -> int:
    """Run one step. When it is ended early, by Ctrl-C too, it has its time to stop what it started."""
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        try:
            return process.wait()
        except KeyboardInterrupt as stop:
            if isinstance(stop, Told):
                process.send_signal(signal.SIGINT)
            try:
                process.wait(ENDING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


@contextmanager
def temporary_directory() -> Iterator[str]:
    """Where the run puts its files: a directory in memory that is removed at the end, or what is usual."""
    if "TMPDIR" in os.environ or not has_room():
        yield tempfile.gettempdir()
        return
    remove_left_ones()
    with tempfile.TemporaryDirectory(
        prefix=f"{PREFIX}{os.getpid()}-", dir=MEMORY, ignore_cleanup_errors=True
    ) as directory:
        yield directory


def remove_left_ones() -> None:
    """Remove the directories of our own runs that were killed."""
    for left in MEMORY.glob(f"{PREFIX}*-*"):
        owner = left.name.removeprefix(PREFIX).split("-")[0]
        if owner.isdecimal() and left.stat().st_uid == os.geteuid() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(left, ignore_errors=True)


def has_room() -> bool:
    """Whether there is a file system in memory that we may write to and start programs from, with memory behind it."""
    if not os.access(MEMORY, os.W_OK | os.X_OK) or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return False
    return min(available_bytes(), shutil.disk_usage(MEMORY).free) >= ROOM_BYTES


def available_bytes() -> float:
    """Return how much memory programs may still take here."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    available: float = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)
    limit = CGROUP / "memory.max"
    if limit.exists() and (text := limit.read_text(encoding="ascii").strip()) != "max":
        available = min(available, int(text) - int((CGROUP / "memory.current").read_text(encoding="ascii")))
    return available


def find_part(name: str) -> Path:
    """Return the folder of a member, or of tests across members, by its name."""
    folders = [path for folder in (*PARTS, TESTS) for path in sorted((ROOT / folder).iterdir())]
    parts = {path.name: path.relative_to(ROOT) for path in folders if (path / "pyproject.toml").exists()}
    parts |= {path.name: path.relative_to(ROOT) for path in folders if next(path.glob("test_*.py"), None)}
    if name not in parts:
        raise SystemExit(f"no part is called {name}; try one of: {', '.join(sorted(parts))}")
    return parts[name]


def steps(part: Path | None) -> list[tuple[str, list[str]]]:
    """Return what to run, in order."""
    where = [str(part)] if part else []
    workers = os.environ.get("FLOTILLA_TEST_WORKERS", str(max(2, (os.cpu_count() or 2) + 1)))
    tests = [str(part / "tests") if part and (part / "tests").is_dir() else str(part)] if part else []
    types = [] if part and part.is_relative_to(TESTS) else [("types", [str(BIN / "mypy"), *where])]
    return [
        ("style", [str(BIN / "ruff"), "check", *(where or ["."])]),
        ("format", [str(BIN / "ruff"), "format", "--check", *(where or ["."])]),
        *types,
        ("imports", [str(BIN / "lint-imports"), "--no-cache"]),
        ("tests", [sys.executable, "-m", "pytest", "-q", "-n", workers, "--dist", "loadgroup", *tests]),
    ]


if __name__ == "__main__":
    sys.exit(main())
