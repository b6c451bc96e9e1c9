"""Packs of scheduled queries: `Global` for all hosts, `team-<id>` for a team's.

Which queries, and their shape in the config: as Fleet delivers them. Platform and version are not looked at here:
osqueryd knows its own better than a row that may be old.
"""

from __future__ import annotations

from typing import Any

from config_merger.domain.layered import Layered
from config_merger.domain.layers import HostClass, Layers, ScheduledQuery

LOGGING: dict[str, dict[str, bool]] = {
    "snapshot": {"snapshot": True},
    "differential": {"removed": True},
    "differential_ignore_removals": {"removed": False},
}


def packs_of(layers: Layers, host_class: HostClass) -> Layered | None:
    """Return the packs of a class, None when it has none: the document's own `packs` survives then."""
    packs: dict[str, Any] = {}
    origins: dict[str, Any] = {}
    for query in sorted(layers.queries, key=lambda query: query.query_id):
        if query.team_id not in {None, host_class.team_id} or not is_delivered(query, host_class, layers):
            continue
        pack = "Global" if query.team_id is None else f"team-{query.team_id}"
        packs.setdefault(pack, {"queries": {}})["queries"][query.name] = shape(query)
        origins.setdefault(pack, {"queries": {}})["queries"][query.name] = f"query:{query.query_id}"
    return Layered(packs, origins) if packs else None


def is_delivered(query: ScheduledQuery, host_class: HostClass, layers: Layers) -> bool:
    """Whether hosts of the class run a scheduled query: it feeds a destination or a report, and its labels fit."""
    feeds_report = not query.discard_data and layers.reports_enabled and query.logging == "snapshot"
    is_wanted = query.automations_enabled or feeds_report
    in_scope = not query.labels or not query.labels.isdisjoint(host_class.scope_labels)
    return query.interval_seconds > 0 and is_wanted and in_scope


def shape(query: ScheduledQuery) -> dict[str, Any]:
    """Return the query as osqueryd reads it."""
    return {
        "query": query.query,
        "interval": query.interval_seconds,
        "platform": query.platform,
        "version": query.min_osquery_version,
        **LOGGING.get(query.logging, LOGGING["snapshot"]),
    }
