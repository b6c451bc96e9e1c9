"""What a handler may use."""

from __future__ import annotations

from dataclasses import dataclass, field

from flotilla_common.blobs import Blobs
from flotilla_common.bus.connection import Bus
from flotilla_common.contracts.log_destinations import Destination
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker


@dataclass(frozen=True)
class Deps:
    """The open connections of this process, built once in `__main__`."""

    engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]
    bus: Bus
    blobs: Blobs
    """Where parts of the stream go that a destination lacks for long."""
    secrets_key: bytes | None = field(default=None, repr=False)
    """What the secrets of destinations made by the API are encrypted with; without it there can be none."""
    roles_by_api: bool = False
    """Whether destinations made by the API may sign in as the cloud role of this process."""
    declared: dict[str, Destination] = field(default_factory=dict, repr=False)
    """What the environment and the file of this process name now, with its secrets; the manager keeps it."""
