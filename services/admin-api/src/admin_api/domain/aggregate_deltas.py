"""What changed between two states of an aggregate, as the API shows them: little, however much is shown."""

from __future__ import annotations

from typing import Any

Shown = dict[str, Any]


def delta(before: Shown, after: Shown) -> Shown | None:
    """Return what turns `before` into `after`, which have the same groupings; None if nothing differs.

    Of each grouping that differs: its `number`, the groups that are new or have other counts (`changed`), and the
    values of those that are not shown any more (`gone`).
    """
    if before == after:
        return None
    pairs = enumerate(zip(before["groupings"], after["groupings"], strict=True))
    changes = [_change(number, old, new) for number, (old, new) in pairs if old != new]
    return {**after, "groupings": changes}


def _change(number: int, old: Shown, new: Shown) -> Shown:
    known, now = ({_key(group): group for group in shown["top"]} for shown in (old, new))
    return {
        "number": number,
        "exact": new["exact"],
        "distinct": new["distinct"],
        "shown": len(now),
        "changed": [group for key, group in now.items() if known.get(key) != group],
        "gone": [group["values"] for key, group in known.items() if key not in now],
    }


def _key(group: Shown) -> tuple[Any, ...]:
    return tuple(group["values"].values())
