"""Read a `distributed/write` in all the shapes that clients of ten years send, and tell its kinds apart by name."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec
from flotilla_common.contracts.campaigns import QUERY_PREFIX
from flotilla_common.contracts.streams import MAX_PAYLOAD_BYTES

from agent_gateway.domain.json_bodies import as_text, parse, parse_plain, parse_usual
from agent_gateway.domain.json_items import cut_items
from agent_gateway.errors import Malformed

NAME_LIMIT = 512  # characters; of a query that anybody has
MESSAGE_LIMIT = 8192  # characters of an error text that are passed on
MAP_BYTES = 1024 * 1024  # of statuses, messages or stats: those of 5,000 queries
ROWS_BYTES = MAX_PAYLOAD_BYTES - 256 * 1024  # of one query: what a message carries
ROWS_LIMIT = 250_000  # of one query
FAILED = 1
STATS = ("wall_time_ms", "user_time", "system_time", "memory")  # all that osqueryd measures of a query
STAT_LIMIT = 2**63
NUMBERS = (int, float)

Kind = Literal["campaign", "detail", "label", "policy", "other"]
PREFIXES: tuple[tuple[str, Kind], ...] = (
    ("fleet_detail_query_", "detail"),
    ("fleet_additional_query_", "detail"),
    ("fleet_label_query_", "label"),
    ("fleet_policy_query_", "policy"),
    ("fleet_no_policies_wildcard", "policy"),
)
_CAMPAIGN = re.compile(QUERY_PREFIX + r"(\d{1,18})(?:_(\d{1,9})(?:_[0-9a-f]*)?)?")


class _Body(msgspec.Struct):
    """The four maps may each be missing, null or, from some clients, of another shape."""

    node_key: str | None = None
    queries: dict[str, msgspec.Raw] | None = None
    statuses: msgspec.Raw = msgspec.Raw(b"null")
    messages: msgspec.Raw = msgspec.Raw(b"null")
    stats: msgspec.Raw = msgspec.Raw(b"null")


class WriteRequest(msgspec.Struct, frozen=True):
    """What one host posts: queries are bytes until somebody wants them, the other maps are empty if they make no sense.

    The names in `queries` are those that count.
    """

    node_key: str | None = None
    queries: dict[str, msgspec.Raw] = {}
    statuses: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    stats: dict[str, Any] = {}


class Result(msgspec.Struct, frozen=True):
    """What one query brought. `rows`: a JSON array of objects with string values, `stats`: a JSON object."""

    name: str
    status: int
    message: str
    rows: bytes
    stats: bytes
    truncated: bool = False
    """Whether the host sent more rows than are ever passed on."""


_decoder = msgspec.json.Decoder(_Body)
_usual_decoder = msgspec.json.Decoder(WriteRequest)
_map_decoder = msgspec.json.Decoder(dict[str, Any])
_rows_decoder = msgspec.json.Decoder(list[dict[str, str]])
_items_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_row_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text_decoder = msgspec.json.Decoder(str)
WORDS = {b"null": "", b"false": "0", b"true": "1"}  # as osquery would write them in a row


def parse_write(body: bytes) -> WriteRequest:
    """Parse the body; the results themselves stay bytes until somebody wants them.

    Raises:
        Malformed: it is no JSON object, `queries` is none, or there are more statuses than anybody is asked.

    """
    return _readable(parse(_decoder, body))


def parse_plain_write(body: bytes) -> WriteRequest | None:
    """Return the same if the body is JSON in UTF-8, None when it must be mended; raises as `parse_write` does."""
    sent = parse_plain(_decoder, body)
    return None if sent is None else _readable(sent)


def _readable(sent: _Body) -> WriteRequest:
    request = _request(sent)
    if request is None:
        raise Malformed("statuses cannot be read")
    return request


def parse_usual_write(body: bytes) -> WriteRequest | None:
    """Return the same if nothing about it is odd. Most have only maps, which are read with the rest."""
    usual = parse_usual(_usual_decoder, body) if len(body) <= MAP_BYTES else None
    if usual is not None:
        return usual
    sent = parse_usual(_decoder, body)
    return None if sent is None else _request(sent)


def _request(sent: _Body) -> WriteRequest | None:
    """Return it with its maps; None: statuses cannot be read, without which a failure would pass for a success."""
    statuses = _map(sent.statuses)
    if statuses is None:
        return None
    messages, stats = _map(sent.messages) or {}, _map(sent.stats) or {}
    return WriteRequest(sent.node_key, sent.queries or {}, statuses, messages, stats)


def _map(raw: msgspec.Raw) -> dict[str, Any] | None:
    """Return a map; an empty one when it is something else; None when it is too large or cannot be read."""
    view = memoryview(raw)
    if bytes(view[:1]) != b"{":
        return {}
    try:
        return None if len(view) > MAP_BYTES else _map_decoder.decode(view)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def kind_of(name: str) -> Kind:
    """Return what a query was for, by its name."""
    if name.startswith(QUERY_PREFIX):
        return "campaign"
    return next((kind for prefix, kind in PREFIXES if name.startswith(prefix)), "other")


def campaign_of(name: str) -> tuple[int, int] | None:
    """Return campaign and attempt (0 in the bare form) of a query name, None when it has no such form."""
    match = _CAMPAIGN.fullmatch(name)
    return None if match is None else (int(match[1]), int(match[2] or 0))


def result_of(request: WriteRequest, name: str) -> Result:
    """Return one query's result: a missing status is success, one of no known shape is failure."""
    status = _status(request.statuses.get(name))
    message = as_text(request.messages.get(name)) or "" if request.messages else ""
    stats = msgspec.json.encode(_stats(request.stats.get(name)))
    text, truncated = _cut(bytes(request.queries[name]))
    return Result(name, status, message[:MESSAGE_LIMIT], _rows(text), stats, truncated)


def _status(value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, int):
        return int(value) if abs(value) < 2**31 else FAILED
    if isinstance(value, str):
        text = value.strip()
        return int(text) if re.fullmatch(r"-?\d{1,9}", text) else FAILED
    return FAILED


def _stats(value: Any) -> dict[str, float]:
    """Return the known numbers: nothing else goes on, whatever a host calls its statistics."""
    found = value if isinstance(value, dict) else {}
    return {name: value for name in STATS if type(value := found.get(name)) in NUMBERS and 0 <= value < STAT_LIMIT}


def _cut(text: bytes) -> tuple[bytes, bool]:
    """Return as many rows as may be looked at, and whether there were more: a row of nothing costs 70 bytes."""
    if len(text) <= ROWS_LIMIT or not text.startswith(b"["):
        return text, False
    if len(text) <= ROWS_BYTES and text.count(b",") < ROWS_LIMIT:
        return text, False
    return cut_items(text, ROWS_BYTES, ROWS_LIMIT)


def _rows(text: bytes) -> bytes:
    """Return rows as they came when they are rows, else what can be made of them; `""` and null are no rows."""
    if not text.startswith(b"["):
        return b"[]"
    try:
        return text if _are_rows(text) else _as_rows(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed(f"rows: {type(error).__name__}") from None


def _are_rows(text: bytes) -> bool:
    try:
        _rows_decoder.decode(text)
    except msgspec.ValidationError:
        return False
    return True


def _as_rows(text: bytes) -> bytes:
    items = map(bytes, _items_decoder.decode(text))
    return msgspec.json.encode([_row(item) for item in items if item.startswith(b"{")])


def _row(item: bytes) -> dict[str, str]:
    return {name: _text(bytes(value)) for name, value in _row_decoder.decode(item).items()}


def _text(value: bytes) -> str:
    """Return a value as text. A number keeps every digit, also one that no float or integer of ours can hold."""
    if value.startswith(b'"'):
        return _text_decoder.decode(value)
    word = WORDS.get(value)
    return msgspec.json.format(value, indent=-1).decode() if word is None else word
