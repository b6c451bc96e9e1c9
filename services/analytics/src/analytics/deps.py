"""What a handler may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from analytics.collector_client import CollectorClient


@dataclass(frozen=True)
class ReporterDeps:
    """The open connections of the reporter. Without a collector nothing is sent."""

    sessions: async_sessionmaker[AsyncSession]
    collector: CollectorClient | None
    clock: Callable[[], datetime]


@dataclass(frozen=True)
class CollectorDeps:
    """The open connections of the collector."""

    sessions: async_sessionmaker[AsyncSession]
