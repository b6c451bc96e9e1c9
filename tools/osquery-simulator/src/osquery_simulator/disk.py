"""What a host keeps over restarts, as osqueryd keeps it in RocksDB."""

import json
import sqlite3
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

KINDS = ("result", "status")


@dataclass
class LineCounts:
    """produced = accepted + dropped + waiting, always."""

    produced: int = 0
    accepted: int = 0
    dropped: int = 0


@dataclass
class QueryMemory:
    """What the host remembers of a scheduled query: its splayed interval and, for a differential one, the last rows."""

    sql: str = ""
    interval: int = 0
    splayed: int = 0
    epoch: int = 0
    counter: int = -1
    """-1: has never run as a differential query."""
    rows: list[str] = field(default_factory=list)
    """The rows of the last run, each as JSON text with sorted columns."""
    executions: int = 0
    last_executed: int = 0
    output_size: int = 0
    """Bytes of all results so far, as JSON text."""
    wall_milliseconds: int = 0
    last_wall_milliseconds: int = 0


@dataclass
class HostDisk:
    """One host's database."""

    is_new: bool = True
    node_key: str = ""
    last_line: int = 0
    """Number of the newest line; it never goes back."""
    lines: dict[str, dict[str, str]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    """Kind -> key -> line, waiting to be accepted by the server."""
    counts: dict[str, LineCounts] = field(default_factory=lambda: {kind: LineCounts() for kind in KINDS})
    queries: dict[str, QueryMemory] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    """Distributed queries that were accepted and have not been run yet."""
    running: str = ""
    """The SQL that runs now: found after a crash, it is denylisted."""
    denylist: dict[str, float] = field(default_factory=dict)
    """SHA-256 of SQL -> until when it is not run."""
    carves: list[dict[str, str | int | float]] = field(default_factory=list)
    """The rows of table carves."""

    def waiting(self, kind: str) -> int:
        """Count the lines that the server has not accepted yet."""
        return len(self.lines[kind])

    def to_bytes(self) -> bytes:
        """Pack it."""
        return zlib.compress(json.dumps(asdict(self), ensure_ascii=False).encode("utf-8", "replace"), 1)

    @classmethod
    def from_bytes(cls, packed: bytes) -> "HostDisk":
        """Unpack it."""
        document: dict[str, Any] = json.loads(zlib.decompress(packed))
        document["counts"] = {kind: LineCounts(**counts) for kind, counts in document["counts"].items()}
        document["queries"] = {name: QueryMemory(**memory) for name, memory in document["queries"].items()}
        return cls(**document)


class StateStore:
    """The disks of all hosts, in one SQLite file; without a folder nothing outlives the process."""

    def __init__(self, folder: Path | None) -> None:
        self._database: sqlite3.Connection | None = None
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._database = sqlite3.connect(folder / "hosts.sqlite3", isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("CREATE TABLE IF NOT EXISTS disks (host TEXT PRIMARY KEY, disk BLOB NOT NULL)")

    def load(self, host: str) -> HostDisk:
        """Give a host's disk, or an empty one."""
        if self._database is None:
            return HostDisk()
        row = self._database.execute("SELECT disk FROM disks WHERE host = ?", (host,)).fetchone()
        return HostDisk.from_bytes(row[0]) if row else HostDisk()

    def save(self, disks: dict[str, HostDisk]) -> None:
        """Write disks down in one transaction."""
        if self._database is None or not disks:
            return
        self._database.execute("BEGIN")
        packed = ((host, disk.to_bytes()) for host, disk in disks.items())
        self._database.executemany("INSERT OR REPLACE INTO disks VALUES (?, ?)", packed)
        self._database.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
