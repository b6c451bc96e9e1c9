"""Cut a log POST into lines, each one JSON object on one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct

import msgspec
from flotilla_common.contracts.logs import LOG_TYPES, LogType
from flotilla_common.contracts.streams import MAX_PAYLOAD_BYTES

from agent_gateway.domain.json_bodies import parse
from agent_gateway.domain.json_items import without_deep_items
from agent_gateway.errors import NestedTooDeep, UnknownLogType

LINE_LIMIT = MAX_PAYLOAD_BYTES - 256 * 1024  # bytes: what one message can carry beside its manifest and headers
ONLY_OBJECTS = {(b"{",)}
LOG_TYPE_BYTES = 64  # of what is said to be one
MESSAGE_BYTES = 6 * 1024 * 1024  # of several lines; a longer line travels alone


class LogRequest(msgspec.Struct):
    """`node_key` usually stands last."""

    node_key: str | None = None
    log_type: msgspec.Raw = msgspec.Raw(b"null")
    data: list[msgspec.Raw] | None = None


decoder = msgspec.json.Decoder(LogRequest)
_text_decoder = msgspec.json.Decoder(str)
_USUAL_LOG_TYPES: dict[bytes, LogType] = {f'"{one}"'.encode(): one for one in LOG_TYPES}
_first_byte = Struct("c").unpack_from


def read_log(body: bytes) -> tuple[LogRequest, int]:
    """Return a POST; and how many of its items, so most likely lines, are null since they are nested too deeply.

    Raises:
        Malformed: it is no POST of lines.

    """
    try:
        return parse(decoder, body), 0
    except NestedTooDeep:
        shallow, count = without_deep_items(body)
        return parse(decoder, shallow), count


def log_type_of(request: LogRequest) -> LogType:
    """Return what kind of lines a POST holds.

    Raises:
        UnknownLogType: neither of the two.

    """
    raw = bytes(memoryview(request.log_type)[: LOG_TYPE_BYTES + 1])
    usual = _USUAL_LOG_TYPES.get(raw)
    if usual is not None:
        return usual
    try:
        text = _text_decoder.decode(raw)
    except msgspec.DecodeError:
        text = raw.decode("utf-8", "replace")
    found = next((one for one in LOG_TYPES if one == text), None)
    if found is None:
        raise UnknownLogType(text[:LOG_TYPE_BYTES])
    return found


class Piece(msgspec.Struct, frozen=True):
    """Lines for one message: NDJSON."""

    body: bytes
    lines: int


class Cut(msgspec.Struct, frozen=True):
    """What a POST holds, in pieces of MESSAGE_BYTES (a single line may be more), and how many lines were left out."""

    pieces: list[Piece] = []
    skipped: dict[str, int] = {}

    @property
    def lines(self) -> int:
        """How many lines are in the pieces."""
        return sum(piece.lines for piece in self.pieces)


def cut(data: list[msgspec.Raw], body: bytes, message_bytes: int = MESSAGE_BYTES, *, too_deep: int = 0) -> Cut:
    """Return the lines of a POST's `body` in pieces; what can never be stored is counted by reason and left out.

    `too_deep`: so many were, in whatever member, and are null now, as `read_log` says.

    Refusing the POST for one bad line would block the host's logs: it would send the same again, for ever.
    """
    found = Cut()
    if (usual := _usual(data, body, message_bytes)) is not None:
        found.pieces.append(usual)
        return found
    found.pieces.extend(_pieces(_lines(data, found.skipped), message_bytes))
    if too_deep := min(too_deep, found.skipped.get("not_an_object", 0)):
        others = found.skipped.pop("not_an_object") - too_deep
        found.skipped["too_deep"] = found.skipped.get("too_deep", 0) + too_deep
        found.skipped.update({"not_an_object": others} if others else {})
    return found


def _usual(data: list[msgspec.Raw], body: bytes, message_bytes: int) -> Piece | None:
    """Return all lines in one piece if each is an object on a line of its own and they fit; None: look at each.

    Passes over the whole in C take a fifth of the time of a few steps for each line. A body without any newline, as
    osqueryd sends it, has none in its lines.
    """
    if not data or len(body) > message_bytes or b"\n" in body or b"\r" in body:
        return None
    if set(map(_first_byte, data)) != ONLY_OBJECTS:
        return None
    whole = b"\n".join((*data, b""))
    return Piece(whole, len(data)) if len(whole) <= message_bytes else None  # what was mended has grown


def _lines(data: Iterable[msgspec.Raw], skipped: dict[str, int]) -> Iterator[bytes]:
    for line in map(bytes, data):
        reason = "not_an_object" if not line.startswith(b"{") else "too_long" if len(line) > LINE_LIMIT else None
        if reason is not None:
            skipped[reason] = skipped.get(reason, 0) + 1
        elif b"\n" in line or b"\r" in line:
            # Only between tokens: inside a string a bare newline is no JSON. Numbers keep every digit.
            try:
                yield msgspec.json.format(line, indent=-1)
            except RecursionError:
                skipped["too_deep"] = skipped.get("too_deep", 0) + 1
        else:
            yield line


def _pieces(lines: Iterable[bytes], limit: int) -> Iterator[Piece]:
    part: list[bytes] = []
    size = 0
    for line in lines:
        size += len(line) + 1
        if part and size > limit:
            yield _piece(part)
            part, size = [], len(line) + 1
        part.append(line)
    if part:
        yield _piece(part)


def _piece(lines: list[bytes]) -> Piece:
    return Piece(b"\n".join(lines) + b"\n", len(lines))
