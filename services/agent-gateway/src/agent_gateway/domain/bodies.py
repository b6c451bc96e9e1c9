"""Take a body piece by piece: capped as sent, as inflated, and over all requests of the process.

Gzip is inflated when all of it is here. Until then it costs what was sent, however large it will be.

A body above its cap is read to its end without being kept, so that the host gets an answer with `error` instead of a
broken connection, which it would answer by sending the whole body again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
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
FIRST_BYTES = MIB  # of an inflated body: so much is nearly every log POST, and waits for nobody
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
    """One body. `feed` every piece; then `finish`, `unpack` and `join`.

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
        self._is_packed = gzip
        self._pieces: list[bytes] = []
        self._counted = 0
        self._received = 0
        self._refusal = refusal
        self._turn: asyncio.Lock | None = None

    def feed(self, piece: bytes) -> None:
        """Take the next piece as it came.

        Raises:
            DrainedEnough: the body was refused long ago and still goes on.

        """
        self._received += len(piece)
        if self._refusal is not None:
            if self._received > DRAIN_LIMIT:
                raise DrainedEnough
            return
        try:
            self._keep(piece, self._received)
        except FleetError as refusal:
            self.release()
            self._refusal = refusal.with_traceback(None)

    @property
    def size(self) -> int:
        """Bytes kept."""
        return sum(map(len, self._pieces))

    def finish(self) -> None:
        """Say that the body has come to its end.

        Raises:
            TooLarge: it is above the cap.
            Unavailable: all requests together hold too much now, or the refusal that was known beforehand.

        """
        if self._refusal is not None:
            raise self._refusal

    async def unpack(self, turn: asyncio.Lock) -> None:
        """Inflate a body that came as gzip. Not before: what is small as it comes may be held by whoever likes.

        A large one waits for its turn, and keeps it until `leave_turn` or `release`, so that all who send bombs have
        the memory of one.

        Raises:
            TooLarge: it is above the cap.
            Malformed: it is not the gzip that it claims to be.
            Unavailable: all requests together hold too much now.

        """
        if not self._is_packed:
            return
        packed, self._pieces = self._pieces, []
        as_it_came = self._counted
        if await self._inflate(packed, FIRST_BYTES):
            return
        self._pieces = []
        self._give_back(self._counted - as_it_came)
        await turn.acquire()
        self._turn = turn
        await self._inflate(packed, self._limit)

    def leave_turn(self) -> None:
        """Let the next large body be inflated: who sent this one is known."""
        if self._turn is not None:
            self._turn.release()
            self._turn = None

    def join(self) -> bytes:
        """Return the whole body, once; only the caller holds it then."""
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def release(self) -> None:
        """Give the memory back, and the turn."""
        self._give_back(self._counted)
        self._pieces = []
        self.leave_turn()

    def _give_back(self, size: int) -> None:
        self._memory.give_back(COPIES * size)
        self._counted -= size

    def _keep(self, piece: bytes, whole: int) -> None:
        """Keep a piece of a body that has `whole` bytes by now."""
        if whole > self._limit:
            raise TooLarge(f"more than {self._limit} bytes")
        if not self._memory.has_room_for(self._leaves, len(piece)):
            raise Unavailable("too many bodies at once")
        if piece:
            self._pieces.append(piece)
            self._counted += len(piece)
            self._memory.used += COPIES * len(piece)

    async def _inflate(self, packed: list[bytes], limit: int) -> bool:
        """Inflate in steps, so that a bomb is refused at the cap and not after it has gone off; others have turns.

        False: it has more than `limit` bytes, and may have them.
        """
        whole = 0
        for step, piece in enumerate(_inflated(packed)):
            whole += len(piece)
            if limit < whole <= self._limit:
                return False
            self._keep(piece, whole)
            if step % STEPS_A_TURN == STEPS_A_TURN - 1:
                await asyncio.sleep(0)
        return True


def _inflated(packed: list[bytes]) -> Iterator[bytes]:
    """Inflate one gzip member; what follows it is not looked at.

    Raises:
        Malformed: it is none, or is cut off.

    """
    inflater: Any = isal_zlib.decompressobj(wbits=GZIP_WINDOW)
    try:
        for piece in packed:
            rest = piece
            while rest and not inflater.eof:
                yield inflater.decompress(rest, INFLATE_STEP)
                rest = inflater.unconsumed_tail
            if inflater.eof:
                return
        while more := inflater.decompress(b"", INFLATE_STEP):
            yield more
    except IsalError as error:  # type: ignore[misc]  # the stubs hide that it is an exception
        raise Malformed(f"bad gzip body: {error}") from None
    if not inflater.eof:
        raise Malformed("the gzip body is cut off")
