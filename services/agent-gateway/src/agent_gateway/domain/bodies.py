"""Take a body piece by piece: capped as sent, as inflated, and over all requests of the process.

A body above its cap is read to its end without being kept, so that the host gets an answer with `error` instead of a
broken connection, which it would answer by sending the whole body again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flotilla_common.errors import FleetError, Unavailable
from isal import isal_zlib
from isal.igzip_lib import IsalError

from agent_gateway.errors import Malformed, TooLarge

KIB = 1024
MIB = 1024 * KIB
READ_LIMIT = 64 * KIB  # bytes; also config
ENROLL_LIMIT = MIB
LOG_LIMIT = 128 * MIB
DISTRIBUTED_WRITE_LIMIT = 64 * MIB  # all results that one host may post at once
CARVE_BLOCK_LIMIT = 16 * MIB  # in base64: some 12 MiB of the file
CARVES_LEAVE = LOG_LIMIT  # of the memory: they come as a herd, and wait as soon as logs do
COPIES = 2  # a body is held as it came, and once more as what it becomes: joined, then cut into messages
IN_FLIGHT_LIMIT = 256 * MIB  # bodies; they cost twice that
DRAIN_LIMIT = 512 * MIB  # who sends more than this into a refused body loses the connection
INFLATE_STEP = 256 * KIB
STEPS_A_TURN = 4  # then others have theirs: a piece of 64 KiB may become 64 MiB
GZIP_WINDOW = 31  # zlib's way to say "gzip header, window of 32 KiB"


@dataclass
class Memory:
    """Bytes that bodies cost the process now, with their copies."""

    limit: int = COPIES * IN_FLIGHT_LIMIT
    used: int = 0

    def has_room_for(self, cap: int, size: int = 0) -> bool:
        """Whether a body whose class may send up to `cap` bytes may have `size` more.

        The larger the bodies of a class may be, the sooner it has to wait: logs leave a quarter of the whole to the
        others, writes an eighth, enrolls can have nearly all of it.
        """
        return self.used + COPIES * size <= self.limit - cap

    def give_back(self, size: int) -> None:
        """Count so many bytes less, copies and all."""
        self.used -= size


class DrainedEnough(Exception):
    """The sender of a refused body does not come to an end: answer and close."""


class Intake:
    """One body. `feed` every piece, and nothing more for as long as it `is_behind`; then `finish` and `join`.

    `release` when the request is over, whatever came of it. A `refusal` known beforehand has the body read to its end
    and thrown away. `leaves`: bytes of the memory that are left to others; as many as the cap where nothing is said.
    """

    def __init__(
        self,
        limit: int,
        memory: Memory,
        *,
        gzip: bool = False,
        refusal: FleetError | None = None,
        leaves: int | None = None,
    ) -> None:
        self._limit = limit
        self._leaves = limit if leaves is None else leaves
        self._memory = memory
        self._inflater = isal_zlib.decompressobj(wbits=GZIP_WINDOW) if gzip else None
        self._pieces: list[bytes] = []
        self._kept = 0
        self._received = 0
        self._refusal = refusal
        self._rest = b""

    @property
    def is_behind(self) -> bool:
        """Whether some of what was fed is still to be inflated."""
        return bool(self._rest) and self._refusal is None

    def feed(self, piece: bytes) -> None:
        """Take the next piece as it came.

        Raises:
            DrainedEnough: the body was refused long ago and still goes on.

        """
        self._received += len(piece)
        if self._refusal is not None:
            if self._received > DRAIN_LIMIT:
                raise DrainedEnough
        elif self._received > self._limit:
            self._refuse(TooLarge(f"more than {self._limit} bytes"))
        elif self._inflater is None:
            self._keep(piece)
        else:
            self._inflate(self._inflater, self._rest + piece)

    @property
    def size(self) -> int:
        """Bytes kept."""
        return self._kept

    def finish(self) -> None:
        """Say that the body has come to its end.

        Raises:
            TooLarge: it is above the cap.
            Malformed: it is not the gzip that it claims to be.
            Unavailable: all requests together hold too much now, or the refusal that was known beforehand.

        """
        if self._refusal is None and self._inflater is not None and not self._inflater.eof:
            self._refusal = Malformed("the gzip body is cut off")
        if self._refusal is not None:
            raise self._refusal

    def join(self) -> bytes:
        """Return the whole body, once; only the caller holds it then."""
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def release(self) -> None:
        """Give the memory back."""
        self._memory.used -= COPIES * self._kept
        self._kept = 0
        self._pieces = []

    def _keep(self, piece: bytes) -> None:
        if self._kept + len(piece) > self._limit:
            self._refuse(TooLarge(f"more than {self._limit} bytes"))
        elif not self._memory.has_room_for(self._leaves, len(piece)):
            self._refuse(Unavailable("too many bodies at once"))
        elif piece:
            self._pieces.append(piece)
            self._kept += len(piece)
            self._memory.used += COPIES * len(piece)

    def _inflate(self, inflater: Any, piece: bytes) -> None:
        """Inflate in steps, so that a bomb is refused at the cap and not after it has gone off."""
        try:
            for _ in range(STEPS_A_TURN):
                if not piece or self._refusal is not None:
                    break
                self._keep(inflater.decompress(piece, INFLATE_STEP))
                piece = b"" if inflater.eof else inflater.unconsumed_tail
            self._rest = piece
        except IsalError as error:  # type: ignore[misc]  # the stubs hide that it is an exception
            self._refuse(Malformed(f"bad gzip body: {error}"))

    def _refuse(self, error: FleetError) -> None:
        self.release()
        self._refusal = error
