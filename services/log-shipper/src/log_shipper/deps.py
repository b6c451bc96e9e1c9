"""What a handler may use."""

from __future__ import annotations

from dataclasses import dataclass

from flotilla_common.bus.connection import Bus
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker


@dataclass(frozen=True)
class Deps:
    """The open connections of this process, built once in `__main__`."""

    engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]
    bus: Bus
