"""Who is let in: by class of request while something is short or down, and nobody more than his share.

What is asked here for each request costs well under a microsecond, and a poll that is answered from memory asks
nothing. See docs/admission.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from flotilla_common.bus.bodies import Publish
from flotilla_common.contracts import campaigns, carves, logs, results

from agent_gateway.domain.bodies import CARVES_LEAVE, DISTRIBUTED_WRITE_LIMIT, LOG_LIMIT, Memory
from agent_gateway.domain.buckets import Buckets
from agent_gateway.domain.circuits import Circuit
from agent_gateway.domain.gates import Gate
from agent_gateway.domain.request_classes import RequestClass
from agent_gateway.errors import TooMuch

KIB = 1024
MIB = 1024 * KIB
BURST_SECONDS = 16.0  # of a host's rate: so much at once, after a rest
SMALL_BODY_BYTES = 32 * KIB  # a smaller one costs a host as much
FAILURE_BURST_SECONDS = 60.0
ASKINGS_PER_SECOND, ASKINGS_AT_ONCE = 0.2, 10.0  # of one host: device tokens, refetches
TOLERANCE = 3  # answers in a row that did not come
ROOM_BELOW = 0.05  # of a stream's limit: so far below the mark where it was shut, a gate opens again
ANSWERS_FULL_AT = 0.98  # small, and somebody waits for them: they go on longest


@dataclass(frozen=True)
class Limits:
    """What one process grants; 0 = no limit. Bytes are those of bodies, inflated."""

    host_log_bytes_per_second: float = 16 * MIB
    host_write_bytes_per_second: float = 8 * MIB
    address_failures_per_second: float = 10.0
    full_at: float = 0.95  # of the own limits of LOGS, RESULTS and CARVES


class Admission:
    """The state of one process's admission control."""

    def __init__(self, publish: Publish, is_connected: Callable[[], bool], memory: Memory, limits: Limits) -> None:
        room_at = limits.full_at - ROOM_BELOW
        self.logs = Gate(logs.STREAM, publish, full_at=limits.full_at, room_at=room_at)
        self.results = Gate(results.STREAM, publish, full_at=limits.full_at, room_at=room_at)
        self.answers = Gate(
            campaigns.ANSWERS_STREAM, publish, full_at=ANSWERS_FULL_AT, room_at=ANSWERS_FULL_AT - ROOM_BELOW
        )
        self.carves = Gate(carves.STREAM, publish, full_at=limits.full_at, room_at=room_at)
        self.gates = (self.logs, self.answers, self.results, self.carves)
        self.inventory = Circuit("inventory", tolerance=TOLERANCE)
        self.live_query = Circuit("live-query", tolerance=TOLERANCE)
        self.failures: Buckets[str] = Buckets(
            limits.address_failures_per_second, limits.address_failures_per_second * FAILURE_BURST_SECONDS
        )
        self.refused: Counter[tuple[RequestClass, str]] = Counter()  # by class and reason
        self.too_large: Counter[RequestClass] = Counter()  # bodies above their cap
        self._hosts: dict[RequestClass, Buckets[int]] = {
            "log": _of_bytes(limits.host_log_bytes_per_second),
            "write": _of_bytes(limits.host_write_bytes_per_second),
            "orbit": Buckets(ASKINGS_PER_SECOND, ASKINGS_AT_ONCE),
            "device": Buckets(ASKINGS_PER_SECOND, ASKINGS_AT_ONCE),
        }
        self._is_connected = is_connected
        self._memory = memory
        self._looks: dict[RequestClass, Callable[[], str | None]] = {
            "log": self._log_reason,
            "write": self._write_reason,
            "enroll": self._enroll_reason,
            "carve": self._carve_reason,
        }

    def reason(self, request_class: RequestClass) -> str | None:
        """Return why requests of a class are refused now, before their bodies are kept; None when they are let in."""
        look = self._looks.get(request_class)
        return None if look is None else look()

    def is_closed(self, request_class: RequestClass) -> bool:
        """Whether requests of a class are refused, but for those that try. Changes nothing."""
        if request_class == "log":
            return not self._is_connected() or self.logs.is_shut
        if request_class == "write":
            return not self._is_connected() or (self.answers.is_shut and self.results.is_shut)
        if request_class == "carve":
            return not self._is_connected() or self.carves.is_shut
        return request_class == "enroll" and self.inventory.is_open

    def is_spent(self, request_class: RequestClass, host_id: int) -> bool:
        """Whether a host has had its share of a class."""
        buckets = self._hosts.get(request_class)
        return buckets is not None and buckets.is_spent(host_id)

    def any_spent(self, request_class: RequestClass) -> bool:
        """Whether some host may have had its share of a class; False costs next to nothing."""
        buckets = self._hosts.get(request_class)
        return buckets is not None and buckets.any_spent()

    def take_bytes(self, request_class: RequestClass, host_id: int, size: int) -> None:
        """Let a host in with a body of so many bytes.

        Raises:
            TooMuch: it has had its share for now.

        """
        self._take(request_class, host_id, max(size, SMALL_BODY_BYTES))

    def take_asking(self, request_class: RequestClass, host_id: int) -> None:
        """Let a host have inventory asked for something.

        Raises:
            TooMuch: it has had its share for now.

        """
        self._take(request_class, host_id, 1.0)

    def _take(self, request_class: RequestClass, host_id: int, units: float) -> None:
        if not self._hosts[request_class].take(host_id, units):
            self.refused[request_class, "host"] += 1
            raise TooMuch("this host has had its share")

    def _log_reason(self) -> str | None:
        if not self._is_connected():
            return "bus"
        if not self._memory.has_room_for(LOG_LIMIT):
            return "memory"
        return self.logs.refusal()

    def _write_reason(self) -> str | None:
        """Where a write leads is not known before it is read: it is refused when neither stream takes anything."""
        if not self._is_connected():
            return "bus"
        if not self._memory.has_room_for(DISTRIBUTED_WRITE_LIMIT):
            return "memory"
        reason = self.answers.refusal()
        return reason if reason is not None and self.results.refusal() is not None else None

    def _enroll_reason(self) -> str | None:
        return "inventory" if self.inventory.refuses() else None

    def _carve_reason(self) -> str | None:
        """No carve begins while its blocks would find no room. Whether a block is the one that tries is asked later."""
        if not self._is_connected():
            return "bus"
        if not self._memory.has_room_for(CARVES_LEAVE):
            return "memory"
        return self.carves.refusal()


def _of_bytes(rate: float) -> Buckets[int]:
    return Buckets(rate, rate * BURST_SECONDS)
