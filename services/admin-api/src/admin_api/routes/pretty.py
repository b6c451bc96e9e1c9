"""JSON as people get it (two spaces, a newline at the end), written piece by piece: none is in memory as a whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

PIECE_BYTES = 64 * 1024  # about; other requests get their turn after each
ROWS_AT_ONCE = 200


async def pretty_parts(document: Any, plain: Callable[[object], str]) -> AsyncIterator[bytes]:
    """Yield a document of at least one piece.

    In it an async iterator stands for a list whose items, documents themselves, come by and by, and an iterator for a
    list of plain objects. `plain` writes what JSON does not know.
    """
    pieces, size = list[bytes](), 0
    async for part in _parts(document, 0, plain):
        pieces.append(part)
        size += len(part)
        if size >= PIECE_BYTES:
            yield b"".join(pieces)
            pieces, size = [], 0
            await asyncio.sleep(0)
    yield b"".join([*pieces, b"\n"])


async def _parts(value: Any, depth: int, plain: Callable[[object], str]) -> AsyncIterator[bytes]:
    line = b"\n" + b"  " * (depth + 1)
    if isinstance(value, Mapping):
        mark = b"{"
        for name, member in value.items():
            yield mark + line + json.dumps(name).encode() + b": "
            async for part in _parts(member, depth + 1, plain):
                yield part
            mark = b","
        yield b"{}" if mark == b"{" else line[:-2] + b"}"
    elif isinstance(value, AsyncIterator):
        mark = b"["
        async for item in value:
            yield mark + line
            async for part in _parts(item, depth + 1, plain):
                yield part
            mark = b","
        yield b"[]" if mark == b"[" else line[:-2] + b"]"
    elif isinstance(value, Iterator):
        for part in _list_of(value, line):
            yield part
    else:
        text = json.dumps(value, ensure_ascii=False, default=plain).encode()
        yield msgspec.json.format(text, indent=2).replace(b"\n", line[:-2])


def _list_of(objects: Iterator[Any], line: bytes) -> Iterator[bytes]:
    mark = b"["
    while some := list(islice(objects, ROWS_AT_ONCE)):
        text = msgspec.json.format(msgspec.json.encode(some), indent=2)
        yield mark + text[1:-2].replace(b"\n", line[:-2])  # without its brackets
        mark = b","
    yield b"[]" if mark == b"[" else line[:-2] + b"]"
