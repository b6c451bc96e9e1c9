"""Which objects a batch becomes: their names and lines, told by the batch and by what was planned of it alone."""

from __future__ import annotations

import hashlib
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

from flotilla_common.contracts.logs import Segment

from log_shipper.names import query_of
from log_shipper.sinks import Batch, Chunk, Target

Format = Literal["ndjson", "parquet"]
Layout = Literal["hour", "query"]
SUFFIXES: Mapping[str, str] = {"ndjson": "ndjson.gz", "parquet": "parquet"}
NO_QUERY = "_none"
OTHER_QUERIES = "_other"
NAME_CHARACTERS = 200  # of a query in an object's name, encoded; S3 takes keys of 1024 bytes
DIGEST_CHARACTERS = 32


@dataclass(frozen=True)
class Plan:
    """What was recorded of a batch: all that its objects depend on beside its lines."""

    prefix: str
    stem: str  # e.g. date=2026-11-24/hour=05/00000000000000000007-00000000000000000009
    format: Format = "ndjson"
    layout: Layout = "hour"
    most_queries: int = 0

    @classmethod
    def of(cls, target: Target, prefix: str) -> Plan:
        """Read a target. Earlier releases recorded the name alone, `prefix` being the settings'."""
        found: Format = target.get("format", "ndjson")
        stem = str(target["object"]).removesuffix(f".{SUFFIXES[found]}")
        layout, most = target.get("layout", "hour"), int(target.get("most_queries", 0))
        return cls(str(target.get("prefix", prefix)), stem, found, layout, most)

    def target(self) -> Target:
        """Return what is recorded."""
        members: dict[str, Any] = {"prefix": self.prefix, "format": self.format, "layout": self.layout}
        return {"object": f"{self.stem}.{SUFFIXES[self.format]}", "most_queries": self.most_queries, **members}

    def name(self, *folders: str) -> str:
        """Return the name of an object in these folders below the prefix."""
        return "/".join(part for part in (self.prefix, *folders, f"{self.stem}.{SUFFIXES[self.format]}") if part)

    def objects(self, batch: Batch) -> Iterator[tuple[str, str, list[Chunk]]]:
        """Yield name, log type and lines of each object. Takes processor time: take each in a thread."""
        for log_type, chunks in batch.by_type().items():
            if self.layout == "hour" or log_type != "result":
                yield self.name(log_type), log_type, chunks
                continue
            by_folder = split(chunks, self.most_queries)
            for folder in sorted(by_folder):
                yield self.name(log_type, f"query={folder}"), log_type, by_folder.pop(folder)


def hour_of(moment: datetime) -> str:
    """Return the folders of a moment."""
    return moment.astimezone(UTC).strftime("date=%Y-%m-%d/hour=%H")


def folder_of(query: str) -> str:
    """Return the folder of a query: its name, percent-encoded, so that no two share one and none is a path.

    Names of queries come from hosts and people. A leading underscore is encoded, since folders with one are ours; so is
    the tilde, which begins the digest that takes the place of what is too long.
    """
    if not query:
        return NO_QUERY
    encoded = quote(query, safe="", errors="surrogatepass").replace("~", "%7E").replace("..", "%2E%2E")
    if encoded.startswith("_"):
        encoded = f"%5F{encoded[1:]}"
    if len(encoded) <= NAME_CHARACTERS:
        return encoded
    digest = hashlib.sha256(query.encode(errors="surrogatepass")).hexdigest()[:DIGEST_CHARACTERS]
    head = encoded[: NAME_CHARACTERS - DIGEST_CHARACTERS - 1]
    cut = head.rfind("%", len(head) - 2)
    return f"{head if cut < 0 else head[:cut]}~{digest}"


def split(chunks: Sequence[Chunk], most: int) -> dict[str, list[Chunk]]:
    """Return folder -> its lines. The `most` queries with the most bytes have one each, the others share one."""
    sizes: Counter[str] = Counter()
    queries = [_names(chunk, sizes) for chunk in chunks]
    sizes.pop("", None)
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:most]
    folders = {name: folder_of(name) for name in largest} | {"": NO_QUERY}
    found: dict[str, list[Chunk]] = {}
    for chunk, names in zip(chunks, queries, strict=True):
        let_others_run()
        for folder, part in _split(chunk, [folders.get(name, OTHER_QUERIES) for name in names]).items():
            found.setdefault(folder, []).append(part)
    return found


def let_others_run() -> None:
    """Give the event loop its turn: a thread that computes hands over every 5 ms only, and at each of its waits."""
    time.sleep(0)


def _names(chunk: Chunk, sizes: Counter[str]) -> list[str]:
    """Return the query of each line of a message, and add up their bytes."""
    let_others_run()
    names = []
    for line in chunk.body.split(b"\n")[:-1]:
        name = sys.intern(query_of(line)[0])
        names.append(name)
        sizes[name] += len(line) + 1
    return names


@dataclass
class _Part:
    """The lines of one message for one folder."""

    lines: list[bytes] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)


def _split(chunk: Chunk, folders: Sequence[str]) -> dict[str, Chunk]:
    """Return folder -> the lines of a message for it, of which each is told its folder."""
    only = folders[0]
    if folders.count(only) == len(folders):
        return {only: chunk}
    lines = chunk.body.split(b"\n")
    indexes = range(chunk.lines) if chunk.indexes is None else chunk.indexes
    parts: dict[str, _Part] = {}
    start = 0
    for segment in chunk.segments:
        end = start + segment.lines
        for folder, numbers in _numbers(folders, start, end).items():
            part = parts.setdefault(folder, _Part())
            taken = [lines[number] for number in numbers]
            part.lines += taken
            part.indexes += [indexes[number] for number in numbers]
            size = sum(map(len, taken)) + len(taken)
            part.segments.append(Segment(segment.host_id, segment.team_id, segment.received_ms, len(taken), size))
        start = end
    return {
        folder: Chunk(
            chunk.sequence, chunk.log_type, len(part.lines), b"\n".join([*part.lines, b""]), part.segments, part.indexes
        )
        for folder, part in parts.items()
    }


def _numbers(folders: Sequence[str], start: int, end: int) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for number in range(start, end):
        found.setdefault(folders[number], []).append(number)
    return found
