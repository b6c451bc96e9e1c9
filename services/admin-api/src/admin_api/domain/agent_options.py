"""Agent options: which keys there are, of which types, and what to tell people who misplace one.

Source: Fleet 4.70, agent options validation. A layer is stored as people wrote it; config-merger compiles it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain.json_types import check_depth, fits, name_of
from admin_api.domain.osquery_flags import FLAG_TYPES, OPTION_TYPES, REFUSED_FLAGS
from admin_api.errors import StrictBodyError
from admin_api.store import known_labels

DEFAULTS: dict[str, Any] = {
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
            "load": ["SELECT uuid AS host_uuid FROM system_info;", "SELECT hostname AS hostname FROM system_info;"]
        },
    },
    "overrides": {},
}

TOP_LEVEL = {
    "config": "object",
    "overrides": "object",
    "command_line_flags": "object",
    "extensions": "object",
    "script_execution_timeout": "uint",
    "update_channels": "object",
}
CONFIG = {
    "options": "object",
    "schedule": "object",
    "packs": "object",
    "file_paths": "object",
    "file_accesses": "array",
    "file_paths_query": "object",
    "exclude_paths": "object",
    "yara": {"signatures": "object", "file_paths": "object", "signature_urls": "array"},
    "prometheus_targets": {"timeout": "int", "urls": "array"},
    "views": "object",
    "decorators": {"load": "array", "always": "array", "interval": "object"},
    "auto_table_construction": "object",
    "events": {"disable_subscribers": "array", "enable_subscribers": "array"},
}
TABLE_CONSTRUCTION = {"query": "string", "path": "string", "columns": "array", "platform": "string"}
EXTENSION = {"channel": "string", "platform": "string", "labels": "array"}
CHANNELS = {"osqueryd": "string", "orbit": "string", "desktop": "string"}
LONGEST_SCRIPT_SECONDS = 3600

Shape = dict[str, Any]


async def validate(session: AsyncSession, document: object, *, force: bool = False, nulls_delete: bool = False) -> None:
    """Hold a layer of agent options to the rules; None (cleared) is fine.

    `force` leaves only what no layer can do without: an object that is not nested without end. `nulls_delete` is for
    a layer that is merged over another: null takes an override away there.

    Raises:
        StrictBodyError: the first thing wrong with it, with a hint where a known key stands in the wrong place.

    """
    if document is None:
        return
    top = _object(document, "agent_options")
    check_depth(top)
    if force:
        return
    _keys(top, TOP_LEVEL, "")
    if top.get("config") is not None:
        _prefixed("common config", top["config"])
    _overrides(top.get("overrides") or {}, nulls_delete=nulls_delete)
    _flags(top.get("command_line_flags") or {})
    _channels(top.get("update_channels") or {})
    if (top.get("script_execution_timeout") or 0) > LONGEST_SCRIPT_SECONDS:
        raise StrictBodyError(f"'script_execution_timeout' must be at most {LONGEST_SCRIPT_SECONDS} seconds")
    await _extensions(session, top.get("extensions") or {})


def _object(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise StrictBodyError(f"invalid value type at '{path}': expected object but got {name_of(value)}")
    return value


def _keys(value: dict[str, Any], shape: Shape, path: str) -> None:
    for key, member in value.items():
        where = f"{path}.{key}" if path else key
        if key not in shape:
            raise StrictBodyError(_hint(key))
        expected = shape[key]
        if member is None:
            continue
        if isinstance(expected, dict):
            _keys(_object(member, where), expected, where)
        elif not fits(member, expected):
            raise StrictBodyError(f"invalid value type at '{where}': expected {expected} but got {name_of(member)}")


def _hint(key: str) -> str:
    places = (
        (OPTION_TYPES, "config.options"),
        (CONFIG, "config"),
        (FLAG_TYPES, "command_line_flags"),
        (TOP_LEVEL, "agent_options"),
    )
    for known, place in places:
        if key in known:
            return f'"{key}" should be part of the "{place}" object'
    return f'unsupported key provided: "{key}"'


def _prefixed(prefix: str, config: object) -> None:
    try:
        _config(_object(config, "config"))
    except StrictBodyError as error:
        raise StrictBodyError(f"{prefix}: {error}") from error


def _config(config: dict[str, Any]) -> None:
    _keys(config, CONFIG, "")
    options = config.get("options") or {}
    _keys(options, OPTION_TYPES, "options")
    endpoint = options.get("logger_tls_endpoint")
    if endpoint is not None and not endpoint.startswith("/"):
        raise StrictBodyError(f"options.logger_tls_endpoint must be a path starting with '/': \"{endpoint}\"")
    for name, table in (config.get("auto_table_construction") or {}).items():
        where = f"auto_table_construction.{name}"
        if table is not None:
            _keys(_object(table, where), TABLE_CONSTRUCTION, where)


def _overrides(overrides: dict[str, Any], *, nulls_delete: bool) -> None:
    _keys(overrides, {"platforms": "object"}, "overrides")
    for platform, config in (overrides.get("platforms") or {}).items():
        if config is None and nulls_delete:
            continue
        if config is None:
            raise StrictBodyError(f"{platform} platform config: must not be null")
        _prefixed(f"{platform} platform config", config)


def _flags(flags: dict[str, Any]) -> None:
    refused = sorted(REFUSED_FLAGS & flags.keys())
    if refused:
        raise StrictBodyError(f"The --{refused[0]} flag isn't supported. Please remove this flag.")
    try:
        _keys(flags, FLAG_TYPES, "")
    except StrictBodyError as error:
        raise StrictBodyError(f"command-line flags: {error}") from error


def _channels(channels: dict[str, Any]) -> None:
    _keys(channels, CHANNELS, "update_channels")
    for name, channel in channels.items():
        if not channel:
            raise StrictBodyError(f"update_channels.{name} must not be empty")


async def _extensions(session: AsyncSession, extensions: dict[str, Any]) -> None:
    for name, extension in extensions.items():
        where = f"extensions.{name}"
        _keys(_object(extension, where), EXTENSION, where)
        labels = extension.get("labels") or []
        if not all(isinstance(label, str) for label in labels):
            raise StrictBodyError(f"invalid value type at '{where}.labels': expected array of string")
        missing = await known_labels.missing_of(session, labels)
        if missing:
            raise StrictBodyError(f'{where}: label "{missing[0]}" does not exist')
