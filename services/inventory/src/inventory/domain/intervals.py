"""How often hosts poll, by what their plans say. The online rule needs it.

Intervals come from agent options, which know team and platform but no labels: all classes of a team and platform share
them, and the newest plan of any of these says what they are. What a plan does not set is as in a host that nobody has
said anything about: a value of an earlier plan is no longer in force.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from flotilla_common.contracts.plans import PlanHead
from flotilla_common.db.models.inventory import Host

from inventory.store.intervals import Group, Intervals


class PlannedIntervals:
    """What the newest plans say, and which groups of hosts have news that nobody has written yet."""

    def __init__(self) -> None:
        self._newest: dict[Group, tuple[int, Intervals]] = {}
        self._unwritten: set[Group] = set()
        self.news = asyncio.Event()

    def take(self, head: PlanHead) -> None:
        """Take a plan's head, unless a newer one of its team and platform is here."""
        group = (head.team_id, head.platform)
        revision, before = self._newest.get(group, (-1, None))
        if head.revision < revision:
            return
        intervals = _intervals_of(head)
        self._newest[group] = (head.revision, intervals)
        if intervals != before:
            self.give_back([group])

    def forget(self) -> None:
        """Forget all: the bucket was made anew, its revisions may begin again."""
        self._newest.clear()

    def take_news(self) -> dict[Group, Intervals]:
        """Return the groups with news, and take them for written."""
        groups, self._unwritten = self._unwritten, set()
        self.news.clear()
        return {group: self._newest[group][1] for group in groups if group in self._newest}

    def give_back(self, groups: Iterable[Group]) -> None:
        """Remember groups that are not written."""
        self._unwritten.update(groups)
        self.news.set()

    def all(self) -> dict[Group, Intervals]:
        """Return all groups."""
        return {group: intervals for group, (_, intervals) in self._newest.items()}


def _intervals_of(head: PlanHead) -> Intervals:
    return Intervals(
        distributed=_seconds(head, "distributed_interval_seconds"),
        config_refresh=_seconds(head, "config_refresh_seconds"),
        logger_tls_period=_seconds(head, "logger_tls_period_seconds"),
    )


def _seconds(head: PlanHead, column: str) -> int:
    planned = getattr(head, column)
    return int(Host.model_fields[column].default if planned is None else planned)
