"""What config-merger counts."""

from __future__ import annotations

from prometheus_client import Counter

PLANS_COMPILED = Counter("flotilla_config_merger_plans_compiled", "Plans compiled, by what came of it", ["outcome"])
HEADS_ANNOUNCED = Counter("flotilla_config_merger_heads_announced", "Heads put into bucket PLANS")
GARBAGE_REMOVED = Counter("flotilla_config_merger_garbage_removed", "Entries removed from PLANS", ["kind"])
