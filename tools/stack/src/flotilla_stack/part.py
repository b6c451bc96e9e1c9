"""A part of the stack as data: what to start, after what, and how to tell that it is ready."""

import enum
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flotilla_stack.http import fetch
from flotilla_stack.servers import Server
from flotilla_stack.servers.base import Identity, launched


class Layer(enum.IntEnum):
    """Parts stop layer by layer, the last one first; the value is the place in the order of starting."""

    SERVER = 0
    STEP = 1
    SERVICE = 2
    EDGE = 3
    CLIENT = 4


STOP_SECONDS = {Layer.SERVER: 2.5, Layer.STEP: 0.5, Layer.SERVICE: 4.5, Layer.EDGE: 0.7, Layer.CLIENT: 1.2}
"""How long a layer may take to stop before it is killed; together less than 10 s."""


@dataclass(frozen=True)
class Part:
    """One process that the supervisor starts, watches and stops.

    `prepare` runs before each start and `finish` after each time it became ready, both in a thread. A `once` part is a
    step: it is done when its process ends with status 0. Without `is_ready` a part is ready as soon as it runs.
    """

    name: str
    layer: Layer
    command: Callable[[], list[str]]
    environment: Callable[[], Mapping[str, str]] = field(default=lambda: dict(os.environ))
    needs: tuple[str, ...] = ()
    prepare: Callable[[], None] | None = None
    is_ready: Callable[[], bool] | None = None
    finish: Callable[[], None] | None = None
    once: bool = False
    stop_signal: signal.Signals = signal.SIGTERM
    parent_death_signal: signal.Signals = signal.SIGKILL
    identity: Identity = "self"
    is_quiet: bool = False
    """Its lines are for its log file: figures, that is, not warnings."""

    def launch_command(self) -> list[str]:
        """Return the command tied to the life of the supervisor."""
        return launched(self.command(), signal_number=self.parent_death_signal, identity=self.identity)


def part_of_server(
    server: Server,
    *,
    layer: Layer = Layer.SERVER,
    needs: tuple[str, ...] = (),
    prepare: Callable[[], None] | None = None,
    finish: Callable[[], None] | None = None,
) -> Part:
    """Describe an embedded server; `prepare` runs before the server's own."""

    def prepare_all() -> None:
        if prepare is not None:
            prepare()
        server.prepare()

    return Part(
        name=server.name,
        layer=layer,
        command=server.command,
        environment=server.environment,
        needs=needs,
        prepare=prepare_all,
        is_ready=server.is_ready,
        finish=finish,
        stop_signal=server.stop_signal,
        parent_death_signal=server.parent_death_signal,
        identity=server.identity,
    )


def answers_readyz(port: int) -> Callable[[], bool]:
    """Return a probe of a service's health port."""

    def is_ready() -> bool:
        try:
            fetch(f"http://127.0.0.1:{port}/readyz")
        except OSError:
            return False
        return True

    return is_ready
