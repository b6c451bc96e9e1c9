"""The carver: packs files that a query asks for, and sends them in blocks from the next full minute on."""

import asyncio
import base64
import hashlib
import io
import random
import re
import tarfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from osquery_simulator.overlay import View
from osquery_simulator.profiles import Row
from osquery_simulator.remote import BEGIN, Remote

THREAD = "carver"
SCHEDULED, SUCCESS, FAILED = "SCHEDULED", "SUCCESS", "FAILED"
MINUTE_SECONDS = 60
BLOCK_ATTEMPTS = 3
LINES = 1000  # of each pretended file
ASKS = re.compile(r"\bcarve\s*=\s*'?1\b", re.IGNORECASE)
PATHS = re.compile(r"\bpath\s*(?:=|\blike\b)\s*'((?:[^']|'')+)'", re.IGNORECASE)
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_HEAD = b"\xa0"  # one segment, whose size follows in four bytes
ZSTD_BLOCK_BYTES = 128 * 1024


@dataclass
class Carver:
    """One host's carves; the table is kept on its disk."""

    remote: Remote
    view: View
    dice: random.Random
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.view.carves = lambda: self.remote.disk.carves

    def heed(self, sql: str) -> None:
        """Schedule what a query asks for: `SELECT ... FROM carves WHERE carve = 1 AND path = '...'`, or LIKE.

        The new row has `carve` 1 in the answer to this query, as its WHERE clause wants it.
        """
        for row in self.remote.disk.carves:
            row["carve"] = "0"
        if self.remote.flags.switch("disable_carver") or not ASKS.search(sql):
            return
        paths = [path.replace("''", "'") for path in PATHS.findall(sql)]
        if paths:
            self._schedule(paths)

    def _schedule(self, paths: list[str]) -> None:
        """Add a row: one carve for all paths of a query. The newest clients make up the request id."""
        row: Row = {
            "time": str(int(self.remote.clock.unix())),
            "sha256": "",
            "size": "-1",
            "path": ",".join(paths),
            "status": SCHEDULED,
            "carve_guid": self._guid(),
            "request_id": self._guid(),
            "carve": "1",
        }
        self.remote.disk.carves.append(row)
        self._changed()
        self._wanted.set()

    async def run(self) -> None:
        """Wait for carves, then for the next full minute of the clock, for ever. Nothing to do costs nothing."""
        if any(row["status"] == SCHEDULED for row in self.remote.disk.carves):
            self._wanted.set()
        while True:
            await self._wanted.wait()
            await self.remote.clock.sleep(MINUTE_SECONDS - self.remote.clock.unix() % MINUTE_SECONDS)
            self._wanted.clear()
            for row in [row for row in self.remote.disk.carves if row["status"] == SCHEDULED]:
                row["status"] = SUCCESS if await self._carve(row) else FAILED
                self._changed()

    async def _carve(self, row: Row) -> bool:
        """Send one carve; a failed begin ends it. What blocks are answered does not matter: that is how osqueryd is."""
        archive = self.archive(str(row["path"]).split(","), int(str(row["time"])))
        row["sha256"], row["size"] = hashlib.sha256(archive).hexdigest(), str(len(archive))
        size = self.remote.flags.number("carver_block_size")
        blocks = [archive[at : at + size] for at in range(0, len(archive), size)]
        numbers = {"block_count": len(blocks), "block_size": size, "carve_size": len(archive)}
        ids = {"carve_id": row["carve_guid"], "request_id": row["request_id"]}
        verdict = await self.remote.ask(THREAD, BEGIN, {**numbers, **ids})
        session_id = verdict.document.get("session_id")
        if not verdict.is_success or not isinstance(session_id, str) or not session_id:
            return False
        for number, block in enumerate(blocks):
            await self._send(number, session_id, str(row["request_id"]), block)
        self.remote.statistics.counters["carves"] += 1
        return True

    async def _send(self, number: int, session_id: str, request_id: str, block: bytes) -> None:
        data = base64.b64encode(block).decode("ascii")
        members = {"block_id": number, "session_id": session_id, "request_id": request_id, "data": data}
        for attempt in range(1, BLOCK_ATTEMPTS + 1):
            if await self.remote.send_block(THREAD, members):
                return
            if attempt < BLOCK_ATTEMPTS:
                await self.remote.clock.sleep(attempt * attempt)

    def archive(self, paths: list[str], unix_time: int) -> bytes:
        """Pack pretended files, each of LINES lines that say path and host."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path in paths:
                content = content_of(path, self.view.identity.hostname)
                member = tarfile.TarInfo(path.replace("\\", "/").lstrip("/"))
                member.size, member.mtime = len(content), unix_time
                archive.addfile(member, io.BytesIO(content))
        tar = packed.getvalue()
        return in_zstd(tar) if self.remote.flags.switch("carver_compression") else tar

    def _guid(self) -> str:
        return str(uuid.UUID(int=self.dice.getrandbits(128), version=4))

    def _changed(self) -> None:
        self.remote.is_dirty = True
        self.remote.changed.fire()


def content_of(path: str, hostname: str) -> bytes:
    """Return what is in a pretended file of a host; every path has one."""
    return "".join(f"{path} on {hostname}, line {number}\n" for number in range(LINES)).encode("utf-8", "replace")


def in_zstd(data: bytes) -> bytes:
    """Wrap bytes into a valid zstd frame without compressing them (RFC 8878, sections 3.1.1.1 and 3.1.1.2)."""
    return ZSTD_MAGIC + ZSTD_HEAD + len(data).to_bytes(4, "little") + b"".join(_raw_blocks(data))


def _raw_blocks(data: bytes) -> Iterator[bytes]:
    for at in range(0, max(len(data), 1), ZSTD_BLOCK_BYTES):
        block = data[at : at + ZSTD_BLOCK_BYTES]
        is_last = at + ZSTD_BLOCK_BYTES >= len(data)
        yield (len(block) << 3 | is_last).to_bytes(3, "little") + block
