"""A configuration as osqueryd understands it: schedule, packs, decorators, options."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from osquery_simulator.flags import Flags
from osquery_simulator.remote import dumps
from osquery_simulator.sql_functions import compare_versions

SIZE_LIMIT = 4 * 1024 * 1024  # bytes of a configuration
LONGEST_INTERVAL = 604_800  # seconds
REFUSED_STARTS = ("query.", "cache.", "config_views.")
REFUSED_ENDS = ("epoch", "counter")


@dataclass(frozen=True)
class HostKind:
    """What decides whether a scheduled query is for this host."""

    platform: str
    version: str
    shard: int
    """0 to 99, stable per host."""


@dataclass(frozen=True)
class ScheduledQuery:
    """One query of the schedule, under the name that its results carry."""

    name: str
    sql: str
    interval: int
    is_snapshot: bool = False
    logs_removed: bool = True


@dataclass(frozen=True)
class Pack:
    """A group of queries that run only while each discovery query finds something."""

    name: str
    queries: tuple[ScheduledQuery, ...]
    discovery: tuple[str, ...] = ()
    platform: str = ""
    version: str = ""
    shard: int = 0


@dataclass(frozen=True)
class Decorators:
    """Queries whose first rows go into every line: once, before each query, or every so many seconds."""

    load: tuple[str, ...] = ()
    always: tuple[str, ...] = ()
    interval: tuple[tuple[int, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Config:
    """A parsed configuration."""

    digest: str = ""
    warnings: tuple[str, ...] = ()
    """What osqueryd says about options that it cannot set."""
    packs: tuple[Pack, ...] = ()
    decorators: Decorators = field(default_factory=Decorators)


def parse_config(document: dict[str, Any], flags: Flags, kind: HostKind) -> Config:
    """Apply the options to the flags, then keep what is meant for this kind of host, leaving out odd parts."""
    warnings = tuple(flags.apply(_object(document.get("options"))))
    schedule = _queries(_object(document.get("schedule")), "", flags, kind)
    packs = [Pack("main", schedule)] if schedule else []
    for name, content in _object(document.get("packs")).items():
        packs += _pack(name, _object(content), flags, kind)
    return Config(digest_of(document), warnings, tuple(packs), _decorators(_object(document.get("decorators"))))


def digest_of(document: dict[str, Any]) -> str:
    """Hash the configuration as it came: the order of members counts, white space does not."""
    return hashlib.sha1(dumps(document).encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def shard_of(host_identifier: str) -> int:
    """Put a host into one of a hundred shards."""
    return int(hashlib.sha1(host_identifier.encode(), usedforsecurity=False).hexdigest(), 16) % 100


def _pack(name: str, content: dict[str, Any], flags: Flags, kind: HostKind) -> list[Pack]:
    if not _is_for(content, kind):
        return []
    delimiter = flags.text("pack_delimiter")
    queries = _queries(_object(content.get("queries")), f"pack{delimiter}{name}{delimiter}", flags, kind)
    return [
        Pack(
            name,
            queries,
            _texts(content.get("discovery")),
            str(content.get("platform") or ""),
            str(content.get("version") or ""),
            _whole(content.get("shard"), 0),
        )
    ]


def _queries(queries: dict[str, Any], prefix: str, flags: Flags, kind: HostKind) -> tuple[ScheduledQuery, ...]:
    found = []
    for name, raw in queries.items():
        content = _object(raw)
        interval = _whole(content.get("interval"), flags.number("schedule_default_interval"))
        sql = content.get("query")
        is_sound = isinstance(sql, str) and sql and 0 < interval <= LONGEST_INTERVAL and _is_name(name)
        if is_sound and _is_for(content, kind):
            is_snapshot, removed = content.get("snapshot") is True, content.get("removed") is not False
            found.append(ScheduledQuery(prefix + name, str(sql), interval, is_snapshot, removed))
    return tuple(found)


def _is_name(name: str) -> bool:
    return bool(name) and not name.startswith(REFUSED_STARTS) and not name.endswith(REFUSED_ENDS)


def _is_for(content: dict[str, Any], kind: HostKind) -> bool:
    shard = _whole(content.get("shard"), 0)
    version = str(content.get("version") or "")
    return (
        is_platform(str(content.get("platform") or ""), kind.platform)
        and (not version or compare_versions(kind.version, version) >= 0)
        and (not shard or kind.shard < shard)
    )


def is_platform(wanted: str, platform: str) -> bool:
    """Look for the platform's words in the text; `ubuntu` and `centos` mean any Linux, `chrome` means no osqueryd."""
    words = {
        "linux": ("linux", "ubuntu", "centos", "posix"),
        "darwin": ("darwin", "posix"),
        "windows": ("windows",),
    }[platform]
    return wanted in {"", "null"} or any(word in wanted for word in (*words, "any", "all"))


def _decorators(content: dict[str, Any]) -> Decorators:
    timed = []
    for seconds, queries in _object(content.get("interval")).items():
        period = _whole(seconds, 0)
        if period > 0 and period % 60 == 0:
            timed.append((period, _texts(queries)))
    return Decorators(_texts(content.get("load")), _texts(content.get("always")), tuple(timed))


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _whole(value: object, default: int) -> int:
    """Read an int or a string-int."""
    try:
        return default if value is None or isinstance(value, bool) else int(str(value))
    except ValueError:
        return 0
