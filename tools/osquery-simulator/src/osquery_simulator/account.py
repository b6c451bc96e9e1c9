"""The exact account of lines: what was produced, accepted and lost, and which ids were accepted."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO


@dataclass
class AcceptedIds:
    """Ids of accepted lines, in memory per host for tests, in a file for longer runs."""

    file: "IdFile | None" = None
    kept: dict[str, list[str]] = field(default_factory=dict)
    """Kind -> ids, kept only where somebody wants to compare them."""
    is_kept: bool = False

    def add(self, kind: str, ids: Iterable[str]) -> None:
        """Note accepted lines."""
        if self.file is None and not self.is_kept:
            return
        noted = list(ids)
        if self.is_kept:
            self.kept.setdefault(kind, []).extend(noted)
        if self.file is not None:
            self.file.write(kind, noted)


class IdFile:
    """An NDJSON file beside the account, of a bounded number of lines."""

    def __init__(self, account: Path, limit: int, *, is_continued: bool) -> None:
        self.path = account.with_name(account.name + ".ids.ndjson")
        self.is_cut = False
        self._left = limit
        account.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = self.path.open("a" if is_continued else "w", encoding="utf-8")

    def write(self, kind: str, ids: list[str]) -> None:
        """Append ids until the limit is reached."""
        self.is_cut = self.is_cut or len(ids) > self._left
        for line_id in ids[: self._left]:
            self._file.write(json.dumps({"log_type": kind, "id": line_id}, separators=(",", ":")) + "\n")
        self._left -= min(len(ids), self._left)

    def flush(self) -> None:
        """Let others read what was written."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(frozen=True)
class Account:
    """An account that a run has left behind."""

    total: dict[str, dict[str, int]]
    """Kind of lines -> produced, accepted, dropped, waiting."""
    hosts: dict[str, dict[str, dict[str, int]]]
    """Host identifier -> the same."""
    accepted: dict[str, dict[str, list[str]]]
    """Host identifier -> kind -> ids of the lines that the server has accepted; they are in `decorations`."""
    is_complete: bool
    """False: there were more accepted lines than the file of ids may hold."""

    def accepted_ids(self, kind: str = "result") -> list[str]:
        """List the accepted lines of all hosts."""
        return [line_id for by_kind in self.accepted.values() for line_id in by_kind.get(kind, [])]


def read_account(path: Path) -> Account:
    """Read an account and its ids, also while the run goes on."""
    document = json.loads(path.read_text("utf-8"))
    accepted: dict[str, dict[str, list[str]]] = {host: {} for host in document["hosts"]}
    for text in (path.parent / document["accepted_ids"]["file"]).read_text("utf-8").splitlines(keepends=True):
        if not text.endswith("\n"):
            break  # the run has not finished writing this one
        entry = json.loads(text)
        host = entry["id"].rpartition("/")[0]
        accepted.setdefault(host, {}).setdefault(entry["log_type"], []).append(entry["id"])
    return Account(document["total"], document["hosts"], accepted, not document["accepted_ids"]["is_cut"])


def write_json(path: Path, document: Any) -> None:
    """Write a JSON file in one piece."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    draft.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    draft.replace(path)
