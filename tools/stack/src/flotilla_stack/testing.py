"""`make run` as a process of its own, for black-box tests and benchmarks.

Example:
    with RunningStack(tmp_path / "flotilla", "--hosts", "0") as stack:
        httpx2.get(stack.dev()["url"] + "/healthz", verify=...)
        stack.ctl("stop", "nats")

"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from flotilla_stack.servers.base import launched

COMMAND = (sys.executable, "-m", "flotilla_stack")
LAST_LINE = "Ctrl-C stops everything"
"""How the last line of the screen begins: everything is ready."""
READY_SECONDS = 180.0
STOP_SECONDS = 30.0
CTL_SECONDS = 60.0


class StackError(Exception):
    """The stack ended, or was not ready in time; the message is all that it said."""


class RunningStack:
    """One `python -m flotilla_stack run`, started at once; a context manager that waits until it is ready.

    It stops with us, even when we are killed (Linux); the kernel watches the thread that made it.
    """

    def __init__(self, home: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.ready_seconds = 0.0
        """From the start of the process to its screen."""
        self._lines: list[str] = []
        self._ready = threading.Event()
        self._started = time.monotonic()
        self.process = subprocess.Popen(
            # A test that runs out of time ends its process at once (os._exit); the stack then stops as by a person.
            launched([*COMMAND, "run", "--home", str(home), *arguments], signal_number=signal.SIGTERM),
            env=os.environ | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        # Somebody has to read on after the screen: a full pipe would stop the supervisor.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        try:
            self.wait_until_ready()
        except StackError:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def said(self) -> str:
        """All that it has printed."""
        return "".join(self._lines)

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait for the screen.

        Raises:
            StackError: it ended before, or time is up.

        """
        if not self._ready.wait(seconds):
            raise StackError(f"not ready after {seconds:g} s:\n{self.said}")
        if LAST_LINE not in self.said:
            raise StackError(f"it ended:\n{self.said}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it like a person would and return its exit status; one that has ended already is no error."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(STOP_SECONDS)
        self._reader.join(STOP_SECONDS)
        return status

    def kill(self) -> None:
        """Kill the supervisor (SIGKILL)."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)
        self._reader.join(STOP_SECONDS)

    def dev(self) -> dict[str, Any]:
        """Return what dev.json says now."""
        content: dict[str, Any] = json.loads((self.home / "dev.json").read_text("utf-8"))
        return content

    def pids(self) -> list[int]:
        """Return the process ids of all servers and services."""
        dev = self.dev()
        found = [part["pid"] for kind in ("services", "servers") for part in dev[kind].values()]
        return [pid for pid in [*found, *(gateway["pid"] for gateway in dev["gateways"])] if pid]

    def ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `stack ctl` with these words."""
        command = [*COMMAND, "ctl", "--home", str(self.home), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=CTL_SECONDS)

    def _read(self) -> None:
        assert self.process.stdout is not None  # noqa: S101 - we asked for a pipe
        for line in self.process.stdout:
            self._lines.append(line)
            if line.startswith(LAST_LINE):
                self.ready_seconds = time.monotonic() - self._started
                self._ready.set()
        self._ready.set()
        self.process.stdout.close()
