"""What a message of LOGS holds: a manifest, then lines that match it exactly, segment by segment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
from flotilla_common.contracts.logs import LOG_TYPES, Manifest, Segment

from log_shipper.errors import BadManifest
from log_shipper.store.stream import StoredMessage

_decode = msgspec.json.Decoder(Manifest).decode


@dataclass(frozen=True)
class OpenedMessage:
    """A message whose manifest describes its lines; `body` holds these as they came, each ended by a newline.

    `indexes` are the lines' places in their message, when it does not hold all of it any more.
    """

    message: StoredMessage
    segments: tuple[Segment, ...]
    body: bytes
    indexes: tuple[int, ...] | None = None

    def places(self, first: int, lines: int) -> Sequence[int]:
        """Return the places in the message of so many lines of the body, from a line on."""
        own = range(first, first + lines)
        return own if self.indexes is None else self.indexes[own.start : own.stop]

    def owners(self) -> Iterator[tuple[int, Segment]]:
        """Yield each line's place with the segment that it is of."""
        number = 0
        for segment in self.segments:
            for place in self.places(number, segment.lines):
                yield place, segment
            number += segment.lines

    def parts(self) -> Iterator[tuple[Segment, bytes]]:
        """Yield each segment with its lines."""
        start = 0
        for segment in self.segments:
            end = start + segment.bytes
            yield segment, self.body[start:end]
            start = end


def open_message(message: StoredMessage) -> OpenedMessage:
    """Read a message.

    Raises:
        BadManifest: the manifest is missing, or does not describe the lines.

    """
    head, newline, body = message.data.partition(b"\n")
    if not newline:
        raise BadManifest("there is no manifest line")
    try:
        manifest = _decode(head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadManifest(f"the manifest makes no sense: {error}") from error
    _check(message, manifest, body)
    return OpenedMessage(message, tuple(manifest.segments), body)


def open_all(messages: Iterable[StoredMessage]) -> tuple[list[OpenedMessage], list[tuple[StoredMessage, str]]]:
    """Return the messages that can be read, and the others with the reasons."""
    opened: list[OpenedMessage] = []
    poison: list[tuple[StoredMessage, str]] = []
    for message in messages:
        try:
            opened.append(open_message(message))
        except BadManifest as error:
            poison.append((message, str(error)))
    return opened, poison


def _check(message: StoredMessage, manifest: Manifest, body: bytes) -> None:
    lines = sum(segment.lines for segment in manifest.segments)
    size = sum(segment.bytes for segment in manifest.segments)
    if manifest.v != 1:
        raise BadManifest(f"version {manifest.v} of the manifest is unknown")
    if manifest.type not in LOG_TYPES or manifest.type != message.log_type:
        raise BadManifest(f"log type {manifest.type[:40]!r} under subject {message.subject}")
    if lines != message.lines:
        raise BadManifest(f"the manifest counts {lines} lines, the header {message.lines}")
    if size != len(body):
        raise BadManifest(f"the manifest counts {size} bytes, there are {len(body)}")
    start = 0
    for segment in manifest.segments:
        end = start + segment.bytes
        found = body.count(b"\n", start, end) if segment.bytes >= 0 else -1
        if found != segment.lines or (segment.bytes and body[end - 1 : end] != b"\n"):
            raise BadManifest(f"a segment counts {segment.lines} lines, there are {found}")
        start = end
