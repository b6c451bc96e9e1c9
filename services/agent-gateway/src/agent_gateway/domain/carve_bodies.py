"""Read what the carver posts: numbers as numbers or, from old clients, as text; blocks in base64."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from flotilla_common.contracts.carves import PART_BYTES, VERSION, BeginCarveV1, CarvePart, CarveSession

from agent_gateway.domain.hosts import Host
from agent_gateway.domain.json_bodies import complaint, parse_plain
from agent_gateway.errors import Malformed

ID_LIMIT = 255  # characters
NUMBER_LIMIT = 2**53


class BeginBody(msgspec.Struct):
    """All members as they come."""

    node_key: str | None = None
    block_count: Any = None
    block_size: Any = None
    carve_size: Any = None
    carve_id: Any = None
    request_id: Any = None


class BlockBody(msgspec.Struct):
    """A block; its data stays text until the session is known to be good."""

    block_id: Any = None
    session_id: Any = None
    request_id: Any = None
    data: msgspec.Raw = msgspec.Raw(b"null")


begin_decoder = msgspec.json.Decoder(BeginBody)
_block_decoder = msgspec.json.Decoder(BlockBody)
_data_decoder = msgspec.json.Decoder(bytes)


def parse_block(body: bytes) -> BlockBody:
    """Parse the body of a block, which has nothing in it that could be odd.

    Raises:
        Malformed: it is no JSON object.

    """
    sent = parse_plain(_block_decoder, body)
    if sent is None:
        raise complaint(_block_decoder, body)
    return sent


def begin_request(sent: BeginBody, host: Host) -> BeginCarveV1:
    """Return the request to live-query, which judges the numbers.

    Raises:
        Malformed: a member is missing or of a wrong type.

    """
    return BeginCarveV1(
        host_id=host.host_id,
        carve_guid=_name(sent.carve_id, "carve_id"),
        request_id=_name(sent.request_id, "request_id"),
        block_count=number_of(sent.block_count, "block_count"),
        block_size=number_of(sent.block_size, "block_size"),
        carve_size=number_of(sent.carve_size, "carve_size"),
    )


def messages_of(session: CarveSession, block_id: int, data: msgspec.Raw) -> list[tuple[str, bytes]]:
    """Return a block as messages, each with an id that is the same for the same bytes.

    Raises:
        Malformed: the block is not one of the carve, or its data is no base64, empty or too long.

    """
    if block_id >= session.block_count:
        raise Malformed(f"block_id is {block_id}, there are {session.block_count} blocks")
    block = _bytes_of(data)
    if not 0 < len(block) <= session.block_size:
        raise Malformed(f"data has {len(block)} bytes, a block has 1 to {session.block_size}")
    digest = hashlib.sha256(block).digest()
    pieces = [block[at : at + PART_BYTES] for at in range(0, len(block), PART_BYTES)]
    name = f"carve-{session.carve_id}-{block_id}-{digest.hex()[:32]}"
    return [
        (
            f"{name}-{part}",
            msgspec.msgpack.encode(
                CarvePart(
                    v=VERSION,
                    carve_id=session.carve_id,
                    host_id=session.host_id,
                    block_id=block_id,
                    part=part,
                    parts=len(pieces),
                    block_size=len(block),
                    block_sha256=digest,
                    data=piece,
                )
            ),
        )
        for part, piece in enumerate(pieces)
    ]


def number_of(value: Any, name: str) -> int:
    """Return a number that may have come as text.

    Raises:
        Malformed: it is none, is negative, or is beyond all that is ever counted.

    """
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(NUMBER_LIMIT)):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < NUMBER_LIMIT:
        raise Malformed(f"{name} is no number")
    return value


def _name(value: Any, name: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= ID_LIMIT or "\0" in value:
        raise Malformed(f"{name} takes 1 to {ID_LIMIT} characters")
    return value


def _bytes_of(data: msgspec.Raw) -> bytes:
    try:
        return _data_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"data: {error}") from None
