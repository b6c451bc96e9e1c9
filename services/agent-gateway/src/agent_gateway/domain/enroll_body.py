"""Read an enroll request of any age: members missing, numbers for strings, NULs in `cpu_brand`, anything oversized."""

from __future__ import annotations

from typing import Any

import msgspec
from flotilla_common.contracts.hosts import BadEnrollSecret, EnrollHostV1
from pydantic import SecretStr

from agent_gateway.domain.json_bodies import as_text
from agent_gateway.errors import Malformed

SECRET_LIMIT = 1024  # characters
IDENTIFIER_LIMIT = 255
VALUE_LIMIT = 4096
TABLES_LIMIT = 16
COLUMNS_LIMIT = 256
NAME_LIMIT = 128
FALLBACKS = (("osquery_info", "uuid"), ("system_info", "uuid"), ("system_info", "hostname"))

Details = dict[str, dict[str, str]]


class EnrollBody(msgspec.Struct):
    """All members as they come; `enroll_request` says what may be made of them."""

    enroll_secret: Any = None
    host_identifier: Any = None
    platform_type: Any = None
    host_details: Any = None


decoder = msgspec.json.Decoder(EnrollBody)


def enroll_request(sent: EnrollBody, remote_address: str) -> EnrollHostV1:
    """Return the request to inventory.

    Raises:
        Malformed: a member of a wrong type, or no identifier at all.
        BadEnrollSecret: there is none, or none that could be one.

    """
    details = _details(sent.host_details)
    identifier = _identifier(sent.host_identifier, details)
    secret = sent.enroll_secret or ""
    if not isinstance(secret, str):
        raise Malformed("enroll_secret is no string")
    if not secret or len(secret) > SECRET_LIMIT or "\0" in secret:
        raise BadEnrollSecret
    return EnrollHostV1(
        enroll_secret=SecretStr(secret),
        host_identifier=identifier,
        platform_type=_clean(as_text(sent.platform_type) or "", NAME_LIMIT),
        host_details=details,
        remote_address=remote_address,
    )


def _identifier(value: Any, details: Details) -> str:
    text = as_text(value)
    if text is None:
        raise Malformed("host_identifier is no string")
    candidates = (text, *(details.get(table, {}).get(column, "") for table, column in FALLBACKS))
    found = next((cleaned for one in candidates if (cleaned := _clean(one, IDENTIFIER_LIMIT))), "")
    if not found:
        raise Malformed("host_identifier is empty, and nothing in host_details can stand for it")
    return found


def _details(value: Any) -> Details:
    if not isinstance(value, dict):
        return {}
    rows = ((name, _only_row(table)) for name, table in value.items())
    tables = [(name, row) for name, row in rows if row is not None][:TABLES_LIMIT]
    return {_clean(name, NAME_LIMIT): _row(row) for name, row in tables}


def _only_row(table: Any) -> dict[str, Any] | None:
    """Return a table's row; some clients send a list of rows, these tables have one."""
    if isinstance(table, list):
        table = next(iter(table), None)
    return table if isinstance(table, dict) else None


def _row(row: dict[str, Any]) -> dict[str, str]:
    texts = ((column, as_text(value)) for column, value in list(row.items())[:COLUMNS_LIMIT])
    return {_clean(column, NAME_LIMIT): _clean(text, VALUE_LIMIT) for column, text in texts if text is not None}


def _clean(text: str, limit: int) -> str:
    """Return text without NULs (Postgres takes none; osquery pads `cpu_brand` with them), of bounded length."""
    return text.replace("\0", "").strip()[:limit]
