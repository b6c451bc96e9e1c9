"""The osquery flags that the simulator obeys, with osquery's defaults unless a comment says otherwise."""

from collections.abc import Mapping

DEFAULTS: dict[str, object] = {
    "buffered_log_max": 1_000_000,
    "config_accelerated_refresh": 300,
    "config_refresh": 60,  # osquery's own default is 0, never; managed fleets set it
    "config_tls_max_attempts": 3,
    "decorations_top_level": False,
    "disable_decorators": False,
    "disable_distributed": False,  # osquery's own default is true; managed fleets turn it
    "distributed_denylist_duration": 86_400,
    "distributed_interval": 60,
    "distributed_tls_max_attempts": 3,
    "logger_event_type": True,
    "logger_min_status": 0,
    "logger_numerics": False,
    "logger_snapshot_event_type": False,
    "logger_tls_backoff_max": 3600,
    "logger_tls_compress": False,
    "logger_tls_max_linesize": 1024 * 1024,
    "logger_tls_max_lines": 1024,
    "logger_tls_period": 4,
    "pack_delimiter": "_",
    "schedule_default_interval": 3600,
    "schedule_epoch": 0,
    "schedule_splay_percent": 10,
    "tls_disable_status_log": False,
    "tls_enroll_max_attempts": 12,
    "tls_enroll_max_interval": 600,
}
"""Every flag the simulator knows; others in a configuration are ignored with a status line."""

START_UP_ONLY = frozenset(
    {
        "config_accelerated_refresh",
        "config_refresh",
        "config_tls_max_attempts",
        "tls_enroll_max_attempts",
        "tls_enroll_max_interval",
    }
)
"""Command line flags: a configuration cannot change them."""


class Flags:
    """Flag values of one host: defaults, then its command line, then what configurations have set so far."""

    def __init__(self, command_line: Mapping[str, object]) -> None:
        for name in command_line:
            if name not in DEFAULTS:
                raise ValueError(f"unknown osquery flag: {name}")
        self._command_line = dict(command_line)
        self._values: dict[str, object] = {}
        self.reset()

    def reset(self) -> None:
        """Go back to the command line, as a new process does."""
        self._values = {**DEFAULTS, **self._command_line}

    def apply(self, options: Mapping[str, object]) -> list[str]:
        """Set run-time options and return the names that were refused. An option that has gone keeps its value."""
        refused = []
        for name, value in options.items():
            if name in START_UP_ONLY or name not in DEFAULTS:
                if not name.startswith("custom_"):
                    refused.append(name)
            elif isinstance(value, bool | int | str):
                self._values[name] = value
        return refused

    def number(self, name: str) -> int:
        """Give a number; text that is none falls back to the default, as gflags refuses it."""
        try:
            return int(str(self._values[name]))
        except ValueError:
            return int(str(DEFAULTS[name]))

    def switch(self, name: str) -> bool:
        """Give a truth value, by gflags' words for it."""
        return str(self._values[name]).lower() in {"true", "t", "1", "yes", "y"}

    def text(self, name: str) -> str:
        """Give a text."""
        return str(self._values[name])

    def rows(self) -> list[dict[str, object]]:
        """List all values, as the osquery_flags table does."""
        return [
            {"name": name, "value": str(value).lower() if isinstance(value, bool) else str(value)}
            for name, value in sorted(self._values.items())
        ]
