"""An enroll as it is asked for, by either agent of a host."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import structlog
from flotilla_common.contracts.hosts import EnrollHostV1, EnrollOrbitV1

from inventory.domain.facts import clean, serial_of
from inventory.errors import NoHostIdentifier, TooLate

log = structlog.get_logger()

NOT_SENT_BY_HOSTS = {"enroll_secret", "remote_address", "waited_seconds"}


class Agent(StrEnum):
    """Who enrolls. Both agents of a host share its row."""

    OSQUERYD = "osqueryd"
    ORBIT = "orbit"

    @property
    def other(self) -> Agent:
        """The host's other agent."""
        return Agent.ORBIT if self is Agent.OSQUERYD else Agent.OSQUERYD


@dataclass(frozen=True)
class Attempt:
    """Who asks to be let in. `secret_lookup` is the lookup hash of the enroll secret, `digest` the same for a copy.

    `identifier` is what the host is known by. `address` and `serial` (the hardware's) are clean, and empty when nothing
    was told. `waited_seconds` is how long the request waited for its turn, at the door and here; `patience_seconds` how
    long the caller waits.
    """

    agent: Agent
    secret_lookup: bytes = field(repr=False)
    identifier: str
    address: str
    serial: str
    digest: bytes
    waited_seconds: float
    patience_seconds: float
    now: datetime

    @property
    def asked_at(self) -> datetime:
        """When the host asked, by our clock: the time it waited is known, the door's clock is not needed.

        The order of copies that come through two doors is therefore true but for milliseconds on the way.
        """
        return self.now - timedelta(seconds=self.waited_seconds)

    def check(self) -> None:
        """Raise when there is no use in going on.

        Raises:
            NoHostIdentifier: the host does not say who it is.
            TooLate: nobody waits for the answer any more.

        """
        if self.waited_seconds > self.patience_seconds:
            log.warning("an enroll came too late: this service is slow", seconds=round(self.waited_seconds, 1))
            raise TooLate(f"asked {self.waited_seconds:.1f} s ago")
        if not self.identifier:
            raise NoHostIdentifier


def attempt_of(
    request: EnrollHostV1 | EnrollOrbitV1, agent: Agent, identifier: str, secret_lookup: bytes, now: datetime
) -> Attempt:
    """Return what a request asks for."""
    sent = json.dumps(request.model_dump(exclude=NOT_SENT_BY_HOSTS), sort_keys=True)
    return Attempt(
        agent=agent,
        secret_lookup=secret_lookup,
        identifier=identifier,
        address=clean(request.remote_address),
        serial=_serial(request),
        digest=hashlib.sha256(secret_lookup + sent.encode()).digest(),
        waited_seconds=request.waited_seconds,
        patience_seconds=request.timeout_seconds,
        now=now,
    )


def _serial(request: EnrollHostV1 | EnrollOrbitV1) -> str:
    if isinstance(request, EnrollOrbitV1):
        return serial_of(request.hardware_serial)
    return serial_of(request.host_details.get("system_info", {}).get("hardware_serial", ""))
