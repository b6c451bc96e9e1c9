"""What every embedded server has in common: a directory, a port, a command, and an honest readiness probe."""

import os
import signal
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Literal

from flotilla_stack import launch
from flotilla_stack.servers.ports import choose_port

Identity = Literal["self", "namespace", "nobody"]
"""As whom a server runs: as we do, as we do but told that it is `nobody` (user namespace), or really as `nobody`."""


class Server(ABC):
    """One server process that listens on 127.0.0.1 and keeps its files in one directory.

    The class only describes the process, so that a test harness (`RunningServer`) and the supervisor can both run it:
    call `prepare()`, start `launch_command()` with `environment()`, poll `is_ready()`, end it with `stop_signal`.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    parent_death_signal: ClassVar[signal.Signals] = signal.SIGKILL
    """Sent by the kernel when the process that started the server dies without stopping it."""

    def __init__(self, directory: Path, *, port: int | None = None) -> None:
        """Take the wanted `port`, or a free one where it is taken or none is wanted."""
        self.directory = directory.absolute()
        self.port = choose_port(port)
        self.identity: Identity = "self"

    @abstractmethod
    def prepare(self) -> None:
        """Create directories, configuration and, at the first time, the data; a second call changes nothing."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the program and its arguments, without secrets in them."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Ask the server in its own protocol whether it serves; never raises, waits at most a second."""

    def environment(self) -> dict[str, str]:
        """Return the whole environment of the process."""
        return dict(os.environ)

    def launch_command(self) -> list[str]:
        """Return `command()` tied to the life of the calling process.

        The kernel watches the *thread* that starts the process: start it from one that lives as long.
        """
        return launched(self.command(), signal_number=self.parent_death_signal, identity=self.identity)

    def make_directory(self) -> None:
        """Create the server's directory, readable by nobody else."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)


def launched(
    command: list[str], *, signal_number: signal.Signals = signal.SIGKILL, identity: Identity = "self"
) -> list[str]:
    """Return `command` behind `launch.py`: it dies with the calling process and may change identity first."""
    script = [sys.executable, "-I", "-S", str(Path(launch.__file__).absolute())]
    ties = ["--parent", str(os.getpid()), "--signal", str(int(signal_number)), "--identity", identity]
    return [*script, *ties, "--", *command]
