"""The JSON lines that a host logs, with osqueryd's own order of members."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from osquery_simulator.overlay import OSQUERY_VERSION, calendar_time
from osquery_simulator.remote import dumps

INFO, WARNING, ERROR = 0, 1, 2


@dataclass(frozen=True)
class Occasion:
    """What all lines of one execution share."""

    name: str
    host_identifier: str
    unix_time: int
    epoch: int
    counter: int
    is_numeric: bool
    decorations: dict[str, str]
    is_top_level: bool = False
    """Whether decorations stand beside the other members."""

    def members(self, line_id: str) -> dict[str, Any]:
        """Give the members that stand in every result line."""
        common: dict[str, Any] = {
            "name": self.name,
            "hostIdentifier": self.host_identifier,
            "calendarTime": calendar_time(self.unix_time),
            "unixTime": self.unix_time,
            "epoch": self.epoch,
            "counter": self.counter,
            "numerics": self.is_numeric,
        }
        return common | decorated(self.decorations, line_id, is_top_level=self.is_top_level)


def decorated(decorations: dict[str, str], line_id: str, *, is_top_level: bool) -> dict[str, Any]:
    """Give the decorations, sorted, as members of a line; none at all leave no trace."""
    words = dict(decorations)
    if line_id:
        words["simulator_line"] = line_id
    ordered = dict(sorted(words.items()))
    if is_top_level:
        return ordered
    return {"decorations": ordered} if ordered else {}


def event_line(occasion: Occasion, row: Any, action: str, line_id: str) -> str:
    """One row that was added or removed, or belongs to a snapshot."""
    return dumps(occasion.members(line_id) | {"columns": row, "action": action})


def batch_line(occasion: Occasion, added: list[Any], removed: list[Any], line_id: str) -> str:
    """All that changed, in one line."""
    return dumps({"diffResults": {"removed": removed, "added": added}} | occasion.members(line_id))


def snapshot_line(occasion: Occasion, rows: list[Any], line_id: str) -> str:
    """All rows, in one line; none make a line too."""
    return dumps({"snapshot": rows, "action": "snapshot"} | occasion.members(line_id))


@dataclass(frozen=True)
class StatusText:
    """What osqueryd says about itself, and where in its sources."""

    severity: int
    filename: str
    line: int
    message: str
    unix_time: int


def status_line(host_identifier: str, said: StatusText, decorations: dict[str, Any]) -> str:
    """One line of osqueryd's own log."""
    members: dict[str, Any] = {
        "hostIdentifier": host_identifier,
        "calendarTime": calendar_time(said.unix_time),
        "unixTime": said.unix_time,
        "severity": said.severity,
        "filename": said.filename,
        "line": said.line,
        "message": said.message,
        "version": OSQUERY_VERSION,
    }
    return dumps(members | decorations)


def difference(old: Iterable[str], new: Iterable[str]) -> tuple[list[str], list[str]]:
    """Compare two results as bags of rows: what came, what went."""
    before, after = Counter(old), Counter(new)
    return list((after - before).elements()), list((before - after).elements())
