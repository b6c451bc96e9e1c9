"""What this service counts beside what every service does."""

from __future__ import annotations

from prometheus_client import Counter

QUERIES_REFUSED = Counter(
    "flotilla_admin_api_live_queries_refused", "Live queries that the policy refused, by the role it refused", ["role"]
)
SQL_READ = Counter(
    "flotilla_admin_api_sql_read",
    "SQL held against the live query policy: remembered, read, too_hard, too_long, lost (its process), turned_away",
    ["outcome"],
)
UNREADABLE_ROWS = Counter(
    "flotilla_admin_api_unreadable_rows", "Rows of live queries that are no JSON objects: left out where shown"
)
UNREADABLE_SEGMENTS = Counter(
    "flotilla_admin_api_unreadable_segments",
    "Failed readings of archived answers of live queries: `missing` in the blob store, or `damaged`",
    ["reason"],
)
for _reason in ("missing", "damaged"):
    UNREADABLE_SEGMENTS.labels(_reason)  # an alert on its growth must see it grow from 0
