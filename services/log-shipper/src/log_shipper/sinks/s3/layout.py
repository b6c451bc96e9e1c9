"""Which objects a batch becomes: their names and lines, told by the batch and by what was planned of it alone."""

from __future__ import annotations

import hashlib
import sys
import time
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
                yield self.name(log_type, f"query={folder}"), log_type, [share.cut() for share in by_folder.pop(folder)]


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


@dataclass(frozen=True)
class Share:
    """Some lines of a message, which are cut out of it only when they are needed: a batch is held once, not twice."""

    chunk: Chunk
    ends: Sequence[int]  # where each line of the message ends; the first is 0
    numbers: Sequence[int]  # of the lines, from 0, in order

    def cut(self) -> Chunk:
        """Return the lines."""
        chunk, ends, numbers = self.chunk, self.ends, self.numbers
        if len(numbers) == chunk.lines:
            return chunk
        lines = [chunk.body[ends[number] : ends[number + 1]] for number in numbers]
        segments: list[Segment] = []
        last = at = 0
        for segment in chunk.segments:
            last += segment.lines
            before, at = at, bisect_left(numbers, last, at)
            if at > before:
                size = sum(map(len, lines[before:at]))
                segments.append(Segment(segment.host_id, segment.team_id, segment.received_ms, at - before, size))
        indexes = numbers if chunk.indexes is None else [chunk.indexes[number] for number in numbers]
        return Chunk(chunk.sequence, chunk.log_type, len(lines), b"".join(lines), segments, indexes)


def split(chunks: Sequence[Chunk], most: int) -> dict[str, list[Share]]:
    """Return folder -> its lines. The `most` queries with the most bytes have one each, the others share one."""
    sizes: Counter[str] = Counter()
    read = [_read(chunk, sizes) for chunk in chunks]
    sizes.pop("", None)
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:most]
    folders = {name: folder_of(name) for name in largest} | {"": NO_QUERY}
    found: dict[str, list[Share]] = {}
    for chunk, (names, ends) in zip(chunks, read, strict=True):
        let_others_run()
        numbers: dict[str, list[int]] = {}
        for number, name in enumerate(names):
            numbers.setdefault(folders.get(name, OTHER_QUERIES), []).append(number)
        for folder, own in numbers.items():
            found.setdefault(folder, []).append(Share(chunk, ends, array("I", own)))
    return found


def let_others_run() -> None:
    """Give the event loop its turn: a thread that computes hands over every 5 ms only, and at each of its waits."""
    time.sleep(0)


def _read(chunk: Chunk, sizes: Counter[str]) -> tuple[list[str], array[int]]:
    """Return the query of each line of a message and where each ends, and add up the queries' bytes."""
    let_others_run()
    names: list[str] = []
    ends = array("I", [0])
    end = 0
    for line in chunk.body.split(b"\n")[:-1]:
        name = sys.intern(query_of(line)[0])
        names.append(name)
        size = len(line) + 1
        sizes[name] += size
        end += size
        ends.append(end)
    return names, ends
