"""Dead letters: what a destination refused for good, grouped by message and reason, with all that a replay needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

import msgspec
from flotilla_common.contracts.logs import Segment

from log_shipper.domain.messages import OpenedMessage
from log_shipper.domain.routing import Routed
from log_shipper.errors import BadManifest
from log_shipper.sinks import Refusal
from log_shipper.store.dead_letters import Letter
from log_shipper.store.packing import EPOCH, MICROSECOND
from log_shipper.store.stream import StoredMessage

REASON_CHARACTERS = 500


class _Manifest(msgspec.Struct, frozen=True):
    """First line of a letter in stream DEAD; the lines follow."""

    v: int
    subject: str
    stored_us: int  # Unix time
    segments: list[Segment]
    indexes: list[int]


_decode = msgspec.json.Decoder(_Manifest).decode


def letters_of(routed: Routed, opened: Iterable[OpenedMessage]) -> list[Letter]:
    """Return the dead letters of a batch."""
    letters = [
        Letter(message, message.lines, printable(reason), message.data, is_readable=False)
        for message, reason in routed.poison
    ]
    groups: dict[tuple[int, str], list[Refusal]] = {}
    for refusal in routed.refusals:
        groups.setdefault((refusal.sequence, printable(refusal.reason)), []).append(refusal)
    origins: dict[int, list[OpenedMessage]] = {}
    for one in opened if groups else ():
        origins.setdefault(one.message.sequence, []).append(one)
    for (sequence, reason), refusals in sorted(groups.items()):
        letters.append(_letter(origins[sequence], refusals, reason))
    return letters


def _letter(origins: Sequence[OpenedMessage], refusals: list[Refusal], reason: str) -> Letter:
    owners = {index: segment for one in origins for index, segment in one.owners()}
    refusals.sort(key=lambda refusal: refusal.index)
    segments: list[Segment] = []
    for refusal in refusals:
        owner, size = owners[refusal.index], len(refusal.line) + 1
        last = segments[-1] if segments else None
        if last is not None and (last.host_id, last.received_ms) == (owner.host_id, owner.received_ms):
            segments[-1] = msgspec.structs.replace(last, lines=last.lines + 1, bytes=last.bytes + size)
        else:
            segments.append(msgspec.structs.replace(owner, lines=1, bytes=size))
    message = origins[0].message
    stored_us = (message.stored_at - EPOCH) // MICROSECOND
    manifest = _Manifest(1, message.subject, stored_us, segments, [refusal.index for refusal in refusals])
    lines = b"".join(refusal.line + b"\n" for refusal in refusals)
    return Letter(message, len(refusals), reason, msgspec.json.encode(manifest) + b"\n" + lines)


def open_letter(sequence: int, data: bytes | None) -> OpenedMessage:
    """Return a readable letter as the message that its lines came in, without the others of it.

    `data` None: stream DEAD does not have it any more.

    Raises:
        BadManifest: it is not what was buried.

    """
    if data is None:
        raise BadManifest("its lines are not in stream DEAD any more")
    head, _, body = data.partition(b"\n")
    try:
        manifest = _decode(head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadManifest(f"a dead letter makes no sense: {error}") from error
    lines = sum(segment.lines for segment in manifest.segments)
    size = sum(segment.bytes for segment in manifest.segments)
    if size != len(body) or lines != len(manifest.indexes) or body.count(b"\n") != lines:
        raise BadManifest("a dead letter does not hold what it says")
    stored_at = EPOCH + timedelta(microseconds=manifest.stored_us)
    message = StoredMessage(sequence, stored_at, manifest.subject, lines, data)
    return OpenedMessage(message, tuple(manifest.segments), body, tuple(manifest.indexes))


def lines_of(is_readable: bool, data: bytes | None) -> list[bytes]:
    """Return what a letter holds, line by line, for people."""
    if data is None:
        return []
    lines = data.removesuffix(b"\n").split(b"\n")
    return lines[1:] if is_readable else lines


def printable(text: str) -> str:
    """Return text for headers and people: one line, not too long."""
    return "".join(character if character.isprintable() else " " for character in text)[:REASON_CHARACTERS]
