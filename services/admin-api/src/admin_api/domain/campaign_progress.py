"""What a viewer is told of a campaign: how many hosts are expected, how many have answered, and each answer.

The messages are those of Fleet's result socket (admin API 15.3), texts of JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC
from typing import Any

import msgspec

from admin_api.domain.answer_rows import each_row
from admin_api.store.campaign_hosts import HostInSight
from admin_api.store.campaign_rows import MissingAnswers, RowsEntry
from admin_api.store.campaign_segments import Counts
from admin_api.store.campaigns import Ramp, Standing
from admin_api.store.host_summary import HostTotals

ANSWERED = "answered"
RUNS = Standing()
ANSWERS = frozenset({ANSWERED, "failed", "denylisted"})
"""Outcomes of hosts that answered; the others (expired, cancelled, unreachable) are told by no result."""

Rows = list[dict[str, str]]


def message(kind: str, data: Any) -> str:
    """Return the text of one message."""
    return msgspec.json.encode({"type": kind, "data": data}).decode()


@dataclass(frozen=True)
class HostNames:
    """What a result says of its host."""

    hostname: str = ""
    display_name: str = ""


def names_of(host: HostInSight) -> HostNames:
    """Return what a result says of a host; a deleted one has no names."""
    return HostNames(host.hostname or "", host.display_name or "")


class Progress:
    """Counts what one viewer was sent, and says what changed since it was last told."""

    def __init__(self) -> None:
        self._actual = 0
        self._with_results = 0
        self._without_results = 0
        self._expected: int | None = None
        self._finished = False
        self._told: dict[str, str] = {}

    @property
    def looks_finished(self) -> bool:
        """Whether the viewer has not heard yet that all who were online at the last news have answered."""
        return not self._finished and self._expected is not None and self._actual >= self._expected

    def count(self, entry: RowsEntry, *, in_sight: bool = True, rows: Rows | None = None) -> None:
        """Take an answer into account.

        One with an error, that is lost, or of a host that the viewer may not see, is neither with nor without results.
        `rows`: those of the answer, where they were read already; the first one is enough.
        """
        if entry.missing is not None:
            self._actual += entry.missing.answers
        if entry.outcome not in ANSWERS:
            return
        self._actual += 1
        if in_sight and entry.outcome == ANSWERED and not entry.error:
            empty = not rows if rows is not None else next(each_row(entry.rows), None) is None
            self._with_results += not empty
            self._without_results += empty

    def add(self, counts: Counts) -> None:
        """Take answers into account that were counted before."""
        self._actual += counts.answers
        self._with_results += counts.with_rows
        self._without_results += counts.without_rows

    def news(self, totals: HostTotals, standing: Standing = RUNS, *, ended: bool, caught_up: bool = True) -> list[str]:
        """Return the `totals` and `status` messages that differ from the last ones.

        Finished stays finished; it is not said while earlier answers wait to be sent, since clients leave then.
        """
        self._expected = totals.online
        self._finished = self._finished or (caught_up and (ended or self._actual >= totals.online))
        now = {
            "totals": message("totals", totals_data(totals)),
            "status": message("status", {**self._status(totals), **standing_data(standing)}),
        }
        changed = [text for kind, text in now.items() if self._told.get(kind) != text]
        self._told = now
        return changed

    def _status(self, totals: HostTotals) -> dict[str, Any]:
        return {
            "expected_results": totals.online,
            "actual_results": self._actual,
            "count_of_hosts_with_results": self._with_results,
            "count_of_hosts_with_no_results": self._without_results,
            "status": "finished" if self._finished else "pending",
        }


def standing_data(standing: Standing) -> dict[str, Any]:
    """Return what a `status` has beyond Fleet's while hosts are kept from being asked.

    Clients pass over what they do not know.
    """
    data: dict[str, Any] = {}
    if standing.paused_at is not None:
        paused_at = standing.paused_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
        data |= {"paused_at": paused_at, "pause_reason": standing.pause_reason or ""}
    if standing.is_halted:
        data["halted"] = True
    if standing.ramp is not None:
        data["ramp"] = ramp_data(standing.ramp)
    return data


def ramp_data(ramp: Ramp) -> dict[str, int]:
    """Return how far a campaign is that asks so many hosts at a time."""
    return {"hosts_at_a_time": ramp.hosts_at_a_time, "asked": ramp.asked, "waiting": ramp.waiting}


def totals_data(totals: HostTotals) -> dict[str, int]:
    """Return the data of a `totals` message; the missing hosts are among the offline ones."""
    return {
        "count": totals.total,
        "online": totals.online,
        "offline": totals.offline,
        "missing_in_action": totals.missing,
    }


def rows_of(entry: RowsEntry) -> Rows:
    """Return an answer's rows, every value a text. What cannot be read as a row is none."""
    return list(each_row(entry.rows))


def error_of(entry: RowsEntry) -> str:
    """Return why a host could not answer with rows; empty when it could."""
    if entry.outcome == ANSWERED:
        return entry.error
    return entry.error or ("query is denylisted on this host" if entry.outcome == "denylisted" else "query failed")


def result_message(campaign_id: int, entry: RowsEntry, names: HostNames, rows: Rows | None = None) -> str:
    """Return the `result` message of one answer. `position` lets the viewer go on from here later.

    `rows`: those of the answer, where they were read already.
    """
    error = error_of(entry)
    if error:
        rows = []
    elif rows is None:
        rows = rows_of(entry)
    added = {"host_hostname": names.hostname, "host_display_name": names.display_name}
    data: dict[str, Any] = {
        "distributed_query_execution_id": campaign_id,
        "host": {"id": entry.host_id, "hostname": names.hostname, "display_name": names.display_name},
        "rows": [{**row, **added} for row in rows],
        "stats": _stats(entry.stats),
    }
    if error:
        data["error"] = error
    return msgspec.json.encode({"type": "result", "data": data, "position": entry.position}).decode()


def missing_data(missing: MissingAnswers) -> dict[str, Any]:
    """Return what people are told of answers that are lost: positions, how many at most, and why."""
    return asdict(missing)


def missing_message(campaign_id: int, missing: MissingAnswers) -> str:
    """Return the `missing` message (not in Fleet): answers are lost. A viewer goes on behind them."""
    data = {"campaign_id": campaign_id, **missing_data(missing)}
    return msgspec.json.encode({"type": "missing", "data": data, "position": missing.last}).decode()


def _stats(text: bytes) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] | None = msgspec.json.decode(text, type=dict[str, Any] | None)
    except (ValueError, RecursionError):
        return None
    return found
