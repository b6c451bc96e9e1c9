"""What a handler may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flotilla_common.blobs import Blobs
from flotilla_common.bus.buckets import Bucket
from flotilla_common.bus.connection import Bus
from flotilla_common.bus.objects import Objects
from flotilla_common.clock import utc_now
from flotilla_common.contracts.carves import BeginCarveV1
from flotilla_common.db.models.live_query import Carve
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from live_query.domain.answer_traces import Sampling
from live_query.domain.answers import Limits
from live_query.domain.archive import ArchivePolicy
from live_query.domain.carves import CarvePolicy
from live_query.domain.together import Together
from live_query.store.rows import ResultRows

CARVES_TOGETHER = 64  # begun in one transaction


@dataclass(frozen=True)
class Deps:
    """The open connections of this process, built once in `app`.

    `bucket` is CAMPAIGNS, `objects` the store TARGETS; `rows` are in Redis.
    """

    sessions: async_sessionmaker[AsyncSession]
    bus: Bus
    bucket: Bucket
    objects: Objects
    rows: ResultRows
    signing_key: Ed25519PrivateKey
    limits: Limits
    blobs: Blobs
    carve_policy: CarvePolicy
    archive_policy: ArchivePolicy = field(default_factory=ArchivePolicy)
    begins: Together[BeginCarveV1, Carve] = field(default_factory=lambda: Together(CARVES_TOGETHER))
    sampling: Sampling = field(default_factory=Sampling)
    clock: Callable[[], datetime] = utc_now
