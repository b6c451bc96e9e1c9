"""Carves: begun by live-query, whose signed session ids are checked here from memory; blocks go into custody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from flotilla_common.bus.bodies import Publish
from flotilla_common.contracts.carves import (
    SESSION_DOMAIN,
    SUBJECT,
    VERSION,
    BeginCarveV1,
    CarveBegunV1,
    CarvePart,
    CarveSession,
    request_digest,
    split_session,
)
from flotilla_common.errors import Unavailable

from agent_gateway.domain.counters import Counters
from agent_gateway.domain.large_bodies import INLINE_LIMIT
from agent_gateway.domain.patience import patience
from agent_gateway.domain.slots import Slots
from agent_gateway.errors import BadCarveSession, CarveSessionExpired

AT_ONCE = 64
QUEUE_LIMIT = 4096  # carves begin at full minutes of the clock: a whole fleet's at once
LANE_LIMIT = 16  # of them of one host, whose carver begins one after the other
QUEUE_SECONDS = 8.0
PATIENCE_SECONDS = 9.0  # osqueryd gives up after 16 s, and its key may have to be looked up before
LARGE_AT_ONCE = 4  # blocks of some MB on their way to the stream: what the connection buffers has a limit
SMALL_AT_ONCE = 64
ASK_AGAIN_SECONDS = 0.5

Ask = Callable[[BeginCarveV1], Awaitable[CarveBegunV1]]
_decoder = msgspec.json.Decoder(CarveSession)
log = structlog.get_logger()


class Carves:
    """Asks live-query, believes what it has signed with one of `keys`, publishes to stream CARVES. `now`: Unix time."""

    def __init__(
        self,
        ask: Ask,
        publish: Publish,
        keys: Sequence[Ed25519PublicKey],
        counters: Counters,
        now: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._publish = publish
        self._keys = keys
        self._counters = counters
        self._now = now
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._small = asyncio.Semaphore(SMALL_AT_ONCE)
        self._slots = Slots(AT_ONCE, queue=QUEUE_LIMIT, lane=LANE_LIMIT)

    @property
    def waiting(self) -> int:
        """How many begins wait for their turn."""
        return self._slots.waiting

    async def begin(self, request: BeginCarveV1) -> str:
        """Return the session id of a carve; raises as `BeginCarveV1` does, Unavailable too when too many ask.

        Hosts take turns, so that one that begins many holds up nobody else.
        """
        async with patience(PATIENCE_SECONDS, "live-query"), self._slots.slot(request.host_id, QUEUE_SECONDS):
            self._counters.backend_operations["begin_carve"] += 1
            begun = await self._ask_until_answered(request)
        return begun.session_id.get_secret_value()

    async def _ask_until_answered(self, request: BeginCarveV1) -> CarveBegunV1:
        """Ask until the host's patience ends, which is not here: osqueryd begins once, and a repeat is harmless."""
        while True:
            try:
                return await self._ask(request)
            except Unavailable as error:
                log.debug("a carve waits to begin", host_id=request.host_id, error=str(error))
            await asyncio.sleep(ASK_AGAIN_SECONDS)

    def session_of(self, session_id: Any, request_id: Any) -> CarveSession:
        """Return what a session id vouches for. Nobody is asked.

        Raises:
            BadCarveSession: live-query did not sign it, or not for this request id.
            CarveSessionExpired: it did, and its time is over.

        """
        parts = split_session(session_id) if isinstance(session_id, str) else None
        if parts is None or not any(_signed(key, *parts) for key in self._keys):
            raise BadCarveSession
        session = _decoder.decode(parts[1])
        if not isinstance(request_id, str) or session.request_digest != request_digest(request_id):
            raise BadCarveSession
        if session.expires_at <= self._now():
            raise CarveSessionExpired
        return session

    async def hand_over(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Return once all messages of a block are in the stream, each under its id.

        Raises:
            Unavailable: the stream does not take them.

        """
        slots = self._small if sum(len(body) for _, body in messages) <= INLINE_LIMIT else self._large
        async with slots:
            for message_id, body in messages:
                self._counters.backend_operations["publish"] += 1
                await self._publish(SUBJECT, body, {"Nats-Msg-Id": message_id})
        self._counters.carve_blocks["taken"] += 1

    async def tell_fault(self, session: CarveSession, block_id: int, fault: str) -> None:
        """Tell live-query what is wrong with a block: its host takes any answer for a success."""
        part = CarvePart(VERSION, session.carve_id, session.host_id, block_id, fault=fault)
        headers = {"Nats-Msg-Id": f"carve-{session.carve_id}-{block_id}-fault"}
        try:
            await self._publish(SUBJECT, msgspec.msgpack.encode(part), headers)
        except Unavailable as error:  # the missing block shows all the same
            log.warning("fault of a carve is not told", carve_id=session.carve_id, fault=fault, error=str(error))


def _signed(key: Ed25519PublicKey, signature: bytes, payload: bytes) -> bool:
    try:
        key.verify(signature, SESSION_DOMAIN + payload)
    except InvalidSignature:
        return False
    return True
