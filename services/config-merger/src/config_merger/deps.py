"""What a handler may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from flotilla_common.bus.buckets import Bucket
from flotilla_common.bus.connection import Bus
from flotilla_common.clock import utc_now
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker


@dataclass(frozen=True)
class Deps:
    """The open connections of this process, built once in `app`. `bucket` is PLANS."""

    sessions: async_sessionmaker[AsyncSession]
    bus: Bus
    bucket: Bucket
    clock: Callable[[], datetime] = utc_now
