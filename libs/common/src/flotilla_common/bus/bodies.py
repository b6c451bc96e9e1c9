"""Bodies of messages, whole or in pieces, and the call that takes them into custody."""

from __future__ import annotations

from collections.abc import Awaitable, Callable


class Pieces:
    """A body in pieces: nats-py joins them with all that it puts around them, so that they are copied once.

    It makes a command of `head + body + end` (2.16), which copies a joined body of a megabyte twice more.
    """

    __slots__ = ("_pieces", "_size")

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self._size = sum(map(len, pieces))

    def __len__(self) -> int:
        """Return how many bytes there are."""
        return self._size

    def __bytes__(self) -> bytes:
        """Join them."""
        return b"".join(self._pieces)

    def __radd__(self, head: bytes) -> Pieces:
        """Put bytes in front."""
        return Pieces(head, *self._pieces)

    def __add__(self, end: bytes) -> bytes:
        """Join them with what comes behind."""
        return b"".join((*self._pieces, end))


Body = bytes | Pieces
Publish = Callable[[str, Body, dict[str, str] | None], Awaitable[int]]
"""Take a subject, a body and headers; return the stream sequence once it is in custody, or raise Unavailable."""
