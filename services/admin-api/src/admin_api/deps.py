"""What a handler may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from fastapi import Depends
from fastapi.requests import HTTPConnection
from flotilla_common.blobs import Blobs
from flotilla_common.bus.connection import Bus
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from admin_api.domain.campaign_aggregates import CampaignAggregates
from admin_api.domain.campaign_views import CampaignViews
from admin_api.domain.carves import CarveReads
from admin_api.domain.passwords import Passwords
from admin_api.domain.sql_reader import SqlReader
from admin_api.domain.turns import Turns
from admin_api.settings import Settings
from admin_api.store.campaign_results import Archive, CampaignResults

START_SECONDS = 0.25  # that the start of a live query keeps the next one waiting
MOST_STARTS = 5_000  # live queries that wait to be started


@dataclass
class SetupState:
    """Whether the first admin exists. Once true it stays true: the last admin cannot be removed."""

    done: bool = False


@dataclass(frozen=True)
class Deps:
    """The open connections of this process, built once in `__main__`."""

    sessions: async_sessionmaker[AsyncSession]
    bus: Bus
    redis: Redis
    clock: Callable[[], datetime]
    settings: Settings
    secrets_key: bytes
    passwords: Passwords
    blobs: Blobs
    sql_reader: SqlReader
    setup: SetupState = field(default_factory=SetupState)
    aggregates: CampaignAggregates = field(default_factory=CampaignAggregates)
    views: CampaignViews = field(default_factory=CampaignViews)
    starts: Turns = field(default_factory=lambda: Turns(START_SECONDS, MOST_STARTS))
    carve_reads: CarveReads = field(default_factory=CarveReads)
    archive: Archive = field(default_factory=Archive)

    @property
    def results(self) -> CampaignResults:
        """Answers of campaigns."""
        return CampaignResults(self.sessions, self.redis, self.blobs, self.archive)


def deps_of(connection: HTTPConnection) -> Deps:
    """Return the process's dependencies, for a request or a WebSocket."""
    deps: Deps = connection.app.state.deps
    return deps


DepsDep = Annotated[Deps, Depends(deps_of)]
