"""Destinations that the environment names: FLOTILLA_DESTINATIONS, and FLOTILLA_<KIND>_<SETTING> for each.

Every kind can be named once here. Settings of a kind come by its own names, what all destinations have by common ones
(`FLOTILLA_S3_LOG_TYPES`, `FLOTILLA_S3_BATCH_SECONDS`); secrets also from files (`..._FILE`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flotilla_common.contracts.log_destinations import (
    Backlog,
    Batching,
    Destination,
    LogFilter,
    Rate,
)
from flotilla_common.contracts.logs import LOG_TYPES
from flotilla_common.settings import CommonSettings
from pydantic import BeforeValidator, Field, create_model
from pydantic_settings import NoDecode

from log_shipper import sinks


def _names_of(value: object) -> object:
    """Read the comma separated values of a setting. None at all is a mistake, not a wish."""
    if not isinstance(value, str):
        return value
    names = frozenset(name for part in value.split(",") if (name := part.strip()))
    if not names:
        raise ValueError("no value; give some, comma separated, or leave it out")
    return names


def _log_types_of(value: object) -> object:
    names = _names_of(value)
    unknown = names - set(LOG_TYPES) if isinstance(names, frozenset) else set()
    if unknown:
        message = f"unknown log types {', '.join(sorted(unknown))}; there are {', '.join(LOG_TYPES)}"
        raise ValueError(message)
    return names


LogTypes = Annotated[frozenset[str], NoDecode, BeforeValidator(_log_types_of)]
Names = Annotated[frozenset[str] | None, NoDecode, BeforeValidator(_names_of)]
WhenFull = Literal["spill", "dead_letter"]
Ids = Annotated[frozenset[int] | None, NoDecode, BeforeValidator(_names_of)]
FILTER: dict[str, tuple[Any, Any]] = {
    "log_types": (LogTypes, Field(frozenset(LOG_TYPES), description="log types, comma separated")),
    "queries": (Names, Field(None, description="only lines of these queries")),
    "packs": (Names, Field(None, description="only lines of these packs")),
    "teams": (Ids, Field(None, description="only lines of hosts in teams with these ids; 0: in none")),
    "labels": (Ids, Field(None, description="only lines of hosts that have one of the labels with these ids")),
    "platforms": (Names, Field(None, description="only lines of hosts of these platforms")),
}
OTHERS: dict[str, tuple[Any, Any]] = {
    "batch_bytes": (int | None, Field(None, description="size of a batch in bytes, as lines come", ge=1024)),
    "batch_lines": (int | None, Field(None, description="lines of a batch", ge=1)),
    "batch_seconds": (float | None, Field(None, description="how long lines wait for company", ge=0, le=3600)),
    "lines_per_second": (float | None, Field(None, description="lines that go out in a second at most", gt=0)),
    "bytes_per_second": (float | None, Field(None, description="bytes that go out in a second at most", gt=0)),
    "backlog_bytes": (int | None, Field(None, description="what may wait for it in the stream", ge=1024 * 1024)),
    "backlog_when_full": (WhenFull, Field("spill", description="what becomes of more: spill or dead_letter")),
    "backlog_required": (bool, Field(False, description="all waits in the stream, and hosts wait when that is full")),
}


def settings_of(kind: str) -> type[CommonSettings]:
    """Return the settings class of a kind in the environment: one member for each variable."""
    own = {name: (field.annotation, field) for name, field in sinks.kind_of(kind).settings.model_fields.items()}
    members: dict[str, Any] = {f"{kind}_{name}": member for name, member in (own | FILTER | OTHERS).items()}
    found: type[CommonSettings] = create_model(f"{kind.title()}Environment", __base__=CommonSettings, **members)
    return found


def destination_of(kind: str, settings: CommonSettings) -> Destination:
    """Return what the settings of `settings_of` say."""
    own = sinks.kind_of(kind).settings.model_fields

    def given(names: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        return {name: getattr(settings, f"{kind}_{prefix}{name}") for name in names}

    return Destination(
        name=kind,
        kind=kind,
        settings=given(own),
        filter=LogFilter(**given(FILTER)),
        batch=Batching(**given(Batching.model_fields, "batch_")),
        rate=Rate(**given(Rate.model_fields)),
        backlog=Backlog(**given(Backlog.model_fields, "backlog_")),
    )
