"""What inventory counts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

ENROLLS = Counter("flotilla_inventory_enrolls", "Enroll requests by outcome", ["outcome"])
SEEN_HOSTS_WRITTEN = Counter("flotilla_inventory_seen_hosts_written", "Last-seen times that were written")
BAD_SEEN_MESSAGES = Counter("flotilla_inventory_bad_seen_messages", "Messages on hosts.seen that made no sense")
INTERVALS_WRITTEN = Counter("flotilla_inventory_intervals_written", "Hosts whose polling intervals were written")
LOST_TEAM_HOSTS = Counter("flotilla_inventory_lost_team_hosts", "Hosts found in a team that does not exist")
LOG_GAPS = Gauge(
    "flotilla_hosts_with_log_gap",
    "Hosts that are online and of which no log line came for FLOTILLA_LOG_GAP_HOURS; never: since they enrolled",
    ["state"],
)
