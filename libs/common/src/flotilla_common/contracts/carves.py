"""Stream CARVES and the request about carves: files that hosts send. live-query decides; gateways carry.

A host begins a carve and gets a session id, which is all that its blocks show: a token that live-query has signed, so
that any gateway can check it from memory. A block is one message, or several where it is larger than PART_BYTES; its
bytes end in the blob store.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import ClassVar

import msgspec
from pydantic import SecretStr, field_serializer

from flotilla_common.contracts.base import Answer, Request
from flotilla_common.contracts.campaigns import SIGNATURE_BYTES
from flotilla_common.contracts.streams import MAX_PAYLOAD_BYTES
from flotilla_common.errors import Conflict, Denied, Invalid

STREAM = "CARVES"
SUBJECT = "carves.part.v1"
VERSION = 1
PART_BYTES = MAX_PAYLOAD_BYTES - 256 * 1024  # of a block in one message; orbit's blocks of 8,000,000 bytes fit
PARTS_LIMIT = 32  # of one block
SESSION_DOMAIN = b"flotilla carve session v1\n"  # signed ahead of the payload: no campaign's command begins so
SESSION_CHARACTERS = 2048  # no session id is longer


class CarveUnasked(Denied):
    """No campaign that carves has targeted this host lately."""

    code = "carve_unasked"


class CarveOverBudget(Denied):
    """Carves of this host, or of all, take all the room that there is until some expire."""

    code = "carve_over_budget"


class CarveExpired(Conflict):
    """A carve of this id was begun before and has expired: it does not begin again."""

    code = "carve_expired"


class CarveDiffers(Conflict):
    """A carve of this id was begun before, with other sizes or another request id."""

    code = "carve_differs"


class BadCarve(Invalid):
    """The numbers of a carve make no sense; the text says why."""

    code = "bad_carve"


class CarveBegunV1(Answer):
    """The session id: a credential, shown to the host and kept by nobody else."""

    session_id: SecretStr

    @field_serializer("session_id", when_used="json")
    def _reveal(self, value: SecretStr) -> str:
        return value.get_secret_value()


class BeginCarveV1(Request[CarveBegunV1]):
    """Begin a carve of a host. A repeat with the same `carve_guid` and numbers gets the same session id.

    `carve_guid` and `request_id` are as the host says; the latter names the campaign's query, or is random in the
    newest clients. Sizes in bytes.

    Raises (at the caller): BadCarve, CarveUnasked, CarveOverBudget, CarveDiffers, CarveExpired; Unavailable.
    """

    subject: ClassVar[str] = "live_query.begin_carve.v1"
    answer: ClassVar[type[Answer]] = CarveBegunV1
    timeout_seconds: ClassVar[float] = 6.0

    host_id: int
    carve_guid: str
    request_id: str
    block_count: int
    block_size: int
    carve_size: int


class CarveSession(msgspec.Struct, frozen=True):
    """What a session id vouches for. `expires_at` is Unix time."""

    carve_id: int
    host_id: int
    request_digest: str
    block_count: int
    block_size: int
    expires_at: int


class CarvePart(msgspec.Struct, frozen=True):
    """Body of one message, in MessagePack: a part of a block, or `fault`, what was wrong with a block instead.

    `block_sha256` (32 bytes) is of the whole block, which is cut every PART_BYTES: parts of the same digest and number
    are the same bytes.
    """

    v: int
    carve_id: int
    host_id: int
    block_id: int
    part: int = 0
    parts: int = 1
    block_size: int = 0
    block_sha256: bytes = b""
    data: bytes = b""
    fault: str = ""


def request_digest(request_id: str) -> str:
    """Return what a session id keeps of a request id: half of its SHA-256 in hexadecimal."""
    return hashlib.sha256(request_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def encode_session(signature: bytes, payload: bytes) -> str:
    """Return a session id: base64url of the signature over SESSION_DOMAIN and the payload, then the payload."""
    return base64.urlsafe_b64encode(signature + payload).decode("ascii").rstrip("=")


def split_session(session_id: str) -> tuple[bytes, bytes] | None:
    """Return signature and payload of a session id, None when it cannot be one. Nothing of it is verified yet."""
    if len(session_id) > SESSION_CHARACTERS or not session_id.isascii():
        return None
    try:
        raw = base64.b64decode(session_id + "=" * (-len(session_id) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return (raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]) if len(raw) > SIGNATURE_BYTES else None


def carve_folder(carve_id: int) -> str:
    """Return under which name all objects of a carve are in the blob store."""
    return f"carves/{carve_id}"


def part_object(carve_id: int, block_id: int, block_sha256: bytes, part: int) -> str:
    """Return the name of a block's part in the blob store."""
    return f"{carve_folder(carve_id)}/{block_id:08d}-{block_sha256.hex()}-{part:02d}"
