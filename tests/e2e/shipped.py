"""What log-shipper has delivered, read as a customer reads it."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

from obstore.store import S3Store

LINE_ID = "simulator_line"
"""The decoration in which the simulator numbers its lines."""


class Shipped:
    """The file destination and the bucket."""

    def __init__(self, directory: Path, s3: dict[str, str]) -> None:
        self.directory = directory
        self.store = S3Store(
            s3["bucket"],
            endpoint=s3["endpoint"],
            access_key_id=s3["key"],
            secret_access_key=s3["secret"],
            region="us-east-1",
            client_options={"allow_http": True},
        )

    def in_files(self) -> Counter[str]:
        """Count the numbered lines in the files, by id."""
        found: Counter[str] = Counter()
        for path in sorted(self.directory.rglob("*.log*")):
            found.update(ids_in(path.read_bytes(), path.name))
        return found

    def in_bucket(self) -> Counter[str]:
        """Count the numbered lines in the bucket's objects, by id."""
        found: Counter[str] = Counter()
        for page in self.store.list():
            for entry in page:
                found.update(ids_in(bytes(self.store.get(entry["path"]).bytes()), entry["path"]))
        return found

    def object_names(self) -> set[str]:
        """Return the names of all objects."""
        return {entry["path"] for page in self.store.list() for entry in page}

    def result_bytes(self) -> int:
        """Return the size of the result log."""
        path = self.directory / "result.log"
        return path.stat().st_size if path.exists() else 0


def ids_in(content: bytes, name: str) -> list[str]:
    """Return the ids of all numbered lines of an NDJSON text, compressed or not."""
    text = gzip.decompress(content) if name.endswith(".gz") else content
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    return [line["decorations"][LINE_ID] for line in lines if LINE_ID in line.get("decorations", {})]
