"""Which lines of a message a destination takes: by log type, by host, by the query that a line names."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from flotilla_common.contracts.log_destinations import LogFilter
from flotilla_common.contracts.logs import Segment

from log_shipper.names import query_of


@dataclass(frozen=True)
class HostFacts:
    """What filters know of the hosts of a batch. A host that is not named has no platform and no label."""

    platforms: dict[int, str] = field(default_factory=dict)  # host id -> osquery's name
    labelled: Collection[int] = frozenset()  # ids of hosts that have one of the filter's labels


NO_FACTS = HostFacts()


class Selection:
    """A filter, ready for use."""

    def __init__(self, wanted: LogFilter) -> None:
        self.wanted = wanted
        self._log_types: frozenset[str] = wanted.log_types
        self.needs_facts = wanted.labels is not None or wanted.platforms is not None
        self._by_host = self.needs_facts or wanted.teams is not None
        self._by_line = wanted.queries is not None or wanted.packs is not None

    @classmethod
    def of_everything(cls) -> Selection:
        """Return one that takes every line."""
        return cls(LogFilter())

    @classmethod
    def of_nothing(cls) -> Selection:
        """Return one that takes no line."""
        found = cls(LogFilter())
        found._log_types = frozenset()
        return found

    @property
    def takes_all(self) -> bool:
        """Whether every line of a wanted log type is taken."""
        return not (self._by_host or self._by_line)

    @property
    def takes_all_lines(self) -> bool:
        """Whether every line of a host that is taken is taken."""
        return not self._by_line

    def takes_type(self, log_type: str) -> bool:
        """Whether lines of this type can be taken at all."""
        return log_type in self._log_types

    def takes_host(self, segment: Segment, facts: HostFacts) -> bool:
        """Whether lines of this segment's host can be taken."""
        wanted = self.wanted
        return (
            (wanted.teams is None or segment.team_id in wanted.teams)
            and (wanted.platforms is None or facts.platforms.get(segment.host_id) in wanted.platforms)
            and (wanted.labels is None or segment.host_id in facts.labelled)
        )

    def takes_line(self, line: bytes) -> bool:
        """Whether this line of a host that is taken is taken."""
        if not self._by_line:
            return True
        query, pack = query_of(line)
        wanted = self.wanted
        return (wanted.queries is None or query in wanted.queries) and (wanted.packs is None or pack in wanted.packs)
