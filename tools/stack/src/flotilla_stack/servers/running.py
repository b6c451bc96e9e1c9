"""Run one server from synchronous code: the harness of the tests."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

from flotilla_stack.servers.base import Server

S = TypeVar("S", bound=Server)

POLL_SECONDS = 0.02
TAIL_LINES = 30


class ServerFailedError(RuntimeError):
    """A server did not become ready; the message ends with the last lines of its log."""


class RunningServer(Generic[S]):
    """A server as a child process in a session of its own, ready when `start()` returns.

    Use it as a context manager or call `start()` and `stop()`. The process dies with us, even by kill -9; the kernel
    watches the thread that called `start()`, so call it from the main thread.
    """

    def __init__(self, server: S, *, ready_seconds: float = 30, stop_seconds: float = 5) -> None:
        self.server = server
        self.ready_seconds = ready_seconds
        self.stop_seconds = stop_seconds
        self.log_file: Path = server.directory / f"{server.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id.

        Raises:
            ServerFailedError: it is not running.

        """
        if self._process is None:
            raise ServerFailedError(f"{self.server.name} is not running")
        return self._process.pid

    def start(self) -> S:
        """Prepare, launch and wait until the server answers; return the server.

        Raises:
            ServerFailedError: it ended, or was not ready in `ready_seconds`.

        """
        self.server.prepare()
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.server.launch_command(),
                env=self.server.environment(),
                cwd=self.server.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise
        return self.server

    def stop(self) -> None:
        """Ask the server to stop, wait, and kill whatever is left of its process group."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(self.server.stop_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self.stop_seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def __enter__(self) -> S:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self.ready_seconds
        while not self.server.is_ready():
            if time.monotonic() > deadline:
                raise ServerFailedError(f"{self.server.name} not ready after {self.ready_seconds} s:\n{self._tail()}")
            # Waiting for the end of the process is the pause between two probes: a crash is seen at once.
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(POLL_SECONDS)
                raise ServerFailedError(f"{self.server.name} ended with status {status}:\n{self._tail()}")

    def _tail(self) -> str:
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-TAIL_LINES:])

    def __repr__(self) -> str:
        return f"RunningServer({self.server.name}, port={self.server.port})"
