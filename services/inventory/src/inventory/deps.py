"""What a handler may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from flotilla_common.bus.connection import Bus
from flotilla_common.clock import utc_now
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from inventory.domain.identifiers import HostIdentifier
from inventory.domain.identities import SEPARATE


@dataclass(frozen=True)
class Deps:
    """The open connections of this process, built once in `app`."""

    sessions: async_sessionmaker[AsyncSession]
    bus: Bus
    secrets_key: bytes = field(repr=False)
    clock: Callable[[], datetime] = utc_now
    same_identity: str = SEPARATE
    host_identifier: HostIdentifier = "provided"
    enroll_cooldown: timedelta = timedelta(0)
    refusals_told: dict[tuple[bytes, str], datetime] = field(default_factory=dict)
    """When this process last told of a refusal; only of secrets that exist, so there are few."""
