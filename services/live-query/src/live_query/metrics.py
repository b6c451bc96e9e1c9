"""What live-query counts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

STARTED = Counter("flotilla_live_query_campaigns_started", "Campaigns started", ["kind"])
ENDED = Counter("flotilla_live_query_campaigns_ended", "Campaigns closed by this process", ["how"])
ANSWERS = Counter(
    "flotilla_live_query_answers",
    "Answers by what came of them; `foreign` and `unknown` ones come from hosts or gateways that misbehave",
    ["outcome"],
)
BUDGET_PAUSES = Counter(
    "flotilla_live_query_budget_pauses", "Campaigns paused by answers that took them above a budget", ["budget"]
)
RELEASED = Counter("flotilla_live_query_hosts_released", "Hosts released by campaigns that ask so many at a time")
SETTLE_SECONDS = Histogram(
    "flotilla_live_query_settle_seconds",
    "From the stream's ack of an answer to its place in ledger and Redis",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 600),
)
UNREACHABLE = Counter("flotilla_live_query_unreachable", "Hosts deleted while campaigns waited for them")
REPAIRED = Counter("flotilla_live_query_bucket_repairs", "Entries of bucket CAMPAIGNS put back or removed", ["kind"])
DONE_SETS = Counter("flotilla_live_query_done_sets", "Sets of settled hosts sent to gateways")
CARVES_BEGUN = Counter("flotilla_live_query_carves_begun", "Carves begun, repeats of the request included")
CARVES_REFUSED = Counter("flotilla_live_query_carves_refused", "Carves not begun, by reason", ["reason"])
CARVE_PARTS = Counter(
    "flotilla_live_query_carve_parts",
    "Parts of blocks by what came of them; `differs`, `fault` and `beyond` leave an error at the carve",
    ["outcome"],
)
CARVE_BYTES = Counter("flotilla_live_query_carve_bytes", "Bytes put into the blob store")
CARVES_EXPIRED = Counter("flotilla_live_query_carves_expired", "Carves that expired while this replica kept house")
ARCHIVED_BYTES = Counter("flotilla_live_query_archived_bytes", "Bytes of answers moved to the blob store, unpacked")
ARCHIVED_CAMPAIGNS = Counter("flotilla_live_query_archived_campaigns", "Ended campaigns archived as a whole")
ARCHIVE_FAILURES = Counter(
    "flotilla_live_query_archive_failures", "Times that the archive had to wait for another part"
)
ARCHIVE_LAG_SECONDS = Gauge(
    "flotilla_live_query_archive_lag_seconds",
    "For how long an ended campaign should have been archived already; the keeper alone knows",
)
REDIS_FULLNESS = Gauge(
    "flotilla_live_query_redis_fullness",
    "Part of Redis' maxmemory that is used, 0 without a limit; the keeper alone knows",
)
HELD_BYTES = Gauge(
    "flotilla_live_query_held_bytes", "Memory of Redis that campaigns take, as last seen; the keeper alone knows"
)
HALTED = Gauge("flotilla_live_query_halted", "1 while an administrator has stopped all campaigns, as last read")
RUNNING = Gauge("flotilla_live_query_campaigns_running", "Campaigns that hosts are asked for; the keeper alone counts")
KEEPER = Gauge("flotilla_live_query_keeper", "1 while this replica keeps house")
