"""What a message of LOGS holds: a manifest, then lines that match it exactly."""

from __future__ import annotations

import msgspec
from flotilla_common.contracts.logs import LOG_TYPES, Manifest

from log_shipper.errors import BadManifest
from log_shipper.store.stream import StoredMessage

_decode = msgspec.json.Decoder(Manifest).decode


def body_of(message: StoredMessage) -> bytes:
    """Return the lines of a message, as they came, each ended by a newline.

    Raises:
        BadManifest: the manifest is missing, or does not describe the lines.

    """
    head, newline, body = message.data.partition(b"\n")
    if not newline:
        raise BadManifest("there is no manifest line")
    try:
        manifest = _decode(head)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadManifest(f"the manifest makes no sense: {error}") from error
    _check(message, manifest, body)
    return body


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
    found = body.count(b"\n")
    if found != lines or (body and not body.endswith(b"\n")):
        raise BadManifest(f"the manifest counts {lines} lines, there are {found}")
