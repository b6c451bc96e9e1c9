"""The lowest layer: agent options of an installation that has none yet.

Source: what a new Fleet server starts with (admin API part 7).
"""

from __future__ import annotations

from typing import Any

DEFAULT_AGENT_OPTIONS: dict[str, Any] = {
    "config": {
        "options": {
            "pack_delimiter": "/",
            "logger_tls_period": 10,
            "distributed_plugin": "tls",
            "disable_distributed": False,
            "logger_tls_endpoint": "/api/osquery/log",
            "distributed_interval": 10,
            "distributed_tls_max_attempts": 3,
        },
        "decorators": {
            "load": [
                "SELECT uuid AS host_uuid FROM system_info;",
                "SELECT hostname AS hostname FROM system_info;",
            ]
        },
    },
    "overrides": {},
}
