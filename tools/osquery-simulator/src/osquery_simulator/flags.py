"""The osquery flags of one host: all are known, those in OBEYED mean something to the simulator."""

from collections.abc import Iterable, Mapping
from functools import cache

from osquery_simulator.profiles import Row, read_data

OBEYED: dict[str, object] = {
    "buffered_log_max": 1_000_000,
    "carver_block_size": 8192,
    "carver_compression": False,
    "config_accelerated_refresh": 300,
    "config_refresh": 60,  # osquery's own default is 0, never; managed fleets set it
    "config_tls_max_attempts": 3,
    "decorations_top_level": False,
    "disable_carver": False,  # osquery's own default is true; managed fleets turn it
    "disable_decorators": False,
    "disable_distributed": False,  # osquery's own default is true; managed fleets turn it
    "distributed_denylist_duration": 86_400,
    "distributed_interval": 60,
    "distributed_tls_max_attempts": 3,
    "host_identifier": "uuid",  # osquery's own default is hostname; managed fleets set it
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
    "schedule_max_drift": 60,
    "schedule_splay_percent": 10,
    "tls_disable_status_log": False,
    "tls_enroll_max_attempts": 12,
    "tls_enroll_max_interval": 600,
}
"""Flags that change what a host does, with osquery's defaults unless a comment says otherwise."""

SETTABLE = frozenset({"option", "hidden"})
"""Kinds of flags that a configuration may set; the others are for the command line."""


@cache
def specifications() -> dict[str, list[object]]:
    """Read what osquery knows: flag -> type, kind, default and, for some, platforms."""
    flags: dict[str, list[object]] = read_data("flags.json")
    return flags


class Flags:
    """Flag values of one host: defaults, then its command line, then what configurations have set so far."""

    def __init__(self, command_line: Mapping[str, object]) -> None:
        for name in command_line:
            if name not in specifications():
                raise ValueError(f"unknown osquery flag: {name}")
        self._command_line = dict(command_line)
        self._values: dict[str, object] = {}
        self.reset()

    def reset(self) -> None:
        """Go back to the command line, as a new process does."""
        self._values = {**OBEYED, **self._command_line}

    def apply(self, options: Mapping[str, object]) -> list[str]:
        """Set run-time options and return osqueryd's warnings. An option that has gone keeps its value."""
        warnings = []
        for name, value in options.items():
            if name not in specifications():
                if not name.startswith("custom_"):
                    warnings.append(f"Cannot set unknown or invalid flag: {name}")
            elif specifications()[name][1] not in SETTABLE:
                warnings.append(
                    f"The CLI only flag --{name} set via config file will be ignored, "
                    "please use a flagfile or pass it to the process at startup"
                )
            elif isinstance(value, bool | int | str):
                self._values[name] = value
        return warnings

    def number(self, name: str) -> int:
        """Give a number; text that is none falls back to the default, as gflags refuses it."""
        try:
            return int(str(self._values[name]))
        except ValueError:
            return int(str(OBEYED[name]))

    def switch(self, name: str) -> bool:
        """Give a truth value, by gflags' words for it."""
        return str(self._values[name]).lower() in {"true", "t", "1", "yes", "y"}

    def text(self, name: str) -> str:
        """Give a text."""
        return str(self._values[name])

    def rows(self, platform: str) -> Iterable[Row]:
        """List all flags of a platform, as the osquery_flags table does."""
        for name, (kind, place, default, *platforms) in specifications().items():
            if platforms and platform not in platforms[0]:  # type: ignore[operator]
                continue
            yield {
                "name": name,
                "type": kind,
                "default_value": _as_text(default),
                "value": _as_text(self._values.get(name, default)),
                "shell_only": int(place == "shell"),
            }


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
