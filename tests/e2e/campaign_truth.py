"""What a live query may have come to, computed from what its hosts said and heard, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .campaign_hosts import Answer, Asked, Record

KEPT_ROWS = 10_000  # of one host's answer
ANSWERED = frozenset({"answered", "failed", "denylisted"})

Row = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Possible:
    """The answers one of which counts; `nothing`: it may be that none does."""

    answers: list[Answer]
    nothing: bool


def possible(given: Sequence[Answer], asked: Asked, is_held_up: Callable[[float], bool]) -> Possible:
    """Return which of a host's answers may count.

    It is the first that the stream took. The first of which the host heard that it is taken was taken before that; so
    it is this one, or an earlier one whose fate the host never heard. Only if this one was held up between stream and
    ledger (`is_held_up` says so of its time), one that was given later may be settled before it. Nothing counts that
    was begun after the campaign was closed, and nothing may be left out that was taken before it was.
    """
    found = []
    is_sure = False
    for answer in given:
        if answer.began > asked.closed_by:
            break
        found.append(answer)
        if answer.taken is not None and answer.taken <= asked.closed_from:
            is_sure = True
            if not is_held_up(answer.taken):
                break
    return Possible(found, nothing=not is_sure)


@dataclass
class Seen:
    """What people see of a campaign at the end. Rows and results are keyed by host id."""

    counts: Mapping[str, int]
    ledger: Mapping[int, Mapping[str, Any]]
    rows: Mapping[int, list[dict[str, str]]]
    viewers: list[list[dict[str, Any]]] = field(default_factory=list)


def wrong_hosts(
    record: Record,
    asked: Asked,
    seen: Seen,
    names: Mapping[int, str],
    ends: Mapping[str, set[str]],
    is_held_up: Callable[[float], bool],
) -> list[str]:
    """Return what is wrong about each host of a campaign. `ends`: identifier -> its states if it did not answer."""
    found = [
        f"{host_id} is in the ledger"
        for host_id, name in names.items()
        if (host_id in seen.ledger) != (name in asked.targets)
    ]
    found += [f"rows of {host_id}, which is no target" for host_id in seen.rows if host_id not in seen.ledger]
    for host_id, entry in seen.ledger.items():
        name = names[host_id]
        may = possible(record.given(asked.campaign_id, name), asked, is_held_up)
        if (wrong := _wrong(entry, seen.rows.get(host_id, []), may, ends.get(name, {asked.end}))) is not None:
            found.append(f"campaign {asked.campaign_id}, {name}: {wrong}; {described(may, asked)}")
    return found


def _wrong(entry: Mapping[str, Any], rows: list[dict[str, str]], may: Possible, ends: set[str]) -> str | None:
    if entry["state"] not in ANSWERED:
        is_right = entry["state"] in ends and may.nothing and not rows
        return None if is_right else f"{entry['state']} (of {ends}) with {len(rows)} rows"
    if not any(_is_of(entry, rows, answer) for answer in may.answers):
        return f"{entry['state']}, {entry['row_count']} rows, {entry['error']}, {rows[:1]} ({len(rows)} rows)"
    return None


def _is_of(entry: Mapping[str, Any], rows: list[dict[str, str]], answer: Answer) -> bool:
    """Whether ledger and rows tell of this answer, and of all of it."""
    content = answer.content()[:KEPT_ROWS]
    return (
        entry["state"] == answer.outcome
        and entry["row_count"] == len(content)
        and entry["truncated"] == (answer.rows > KEPT_ROWS)
        and (entry["error"] or "") == answer.message
        and rows == content
    )


def described(may: Possible, asked: Asked) -> str:
    """Return what may be, in words."""
    told = [
        f"{answer.text!r} ({answer.outcome}, {answer.rows} rows, began {answer.began:.3f}, taken {answer.taken})"
        for answer in may.answers
    ]
    return f"may be {'; '.join(told) or 'no answer'}{' or nothing' * may.nothing}, closed {asked.closed_from:.3f}"


def wrong_sums(seen: Seen) -> list[str]:
    """Return what does not add up in a campaign."""
    states = Counter(str(entry["state"]) for entry in seen.ledger.values())
    counted = {state: count for state, count in seen.counts.items() if count and state not in {"targeted", "offered"}}
    stored, told = sum(map(len, seen.rows.values())), sum(entry["row_count"] for entry in seen.ledger.values())
    found = [] if counted == states else [f"counts {seen.counts}, hosts {dict(states)}"]
    if seen.counts["targeted"] != len(seen.ledger):
        found.append(f"{seen.counts['targeted']} targeted, {len(seen.ledger)} hosts")
    return found + ([] if stored == told else [f"{stored} rows stored, {told} in the ledger"])


def wrong_views(seen: Seen) -> list[str]:
    """Return what viewers saw that is not there, did not see, or saw twice."""
    found = []
    answered = {host_id for host_id, entry in seen.ledger.items() if entry["state"] in ANSWERED}
    orders = [[result["host"]["id"] for result in results] for results in seen.viewers]
    for number, results in enumerate(seen.viewers):
        shown = {result["host"]["id"]: plain_rows(result["rows"]) for result in results}
        twice = [host_id for host_id, times in Counter(orders[number]).items() if times > 1]
        others = [host_id for host_id, rows in shown.items() if rows != seen.rows.get(host_id, [])]
        wrong = {
            "missed": answered - set(shown),
            "saw": set(shown) - answered,
            "saw twice": twice,
            "saw others": others,
        }
        found += [f"viewer {number} {what} {sorted(hosts)[:10]}" for what, hosts in wrong.items() if hosts]
    return found + ([] if len({tuple(order) for order in orders}) == 1 else ["the viewers saw another order"])


def plain_rows(rows: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return rows of a viewer's message without the names of the host."""
    return [{key: value for key, value in row.items() if not key.startswith("host_")} for row in rows]
