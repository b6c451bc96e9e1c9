"""Host records, read as gateways keep them: the row, and those of the host's labels that scope a query.

A record is never older than the scope it was read under: its revision is the host's or the scope's, whichever is
higher. `store/scope.py` says why no later change of the host can come with a lower one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flotilla_common.contracts.hosts import HostRecord
from flotilla_common.db.models.inventory import Host, LabelMembership, ScopeLabel, ScopeState
from sqlalchemy import BigInteger, LargeBinary, Row, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from inventory.store.arrays import is_any_of

_scope_revision = func.coalesce(select(col(ScopeState.revision)).scalar_subquery(), 0)
_scope_labels: Any = func.array(
    select(col(LabelMembership.label_id))
    .join(ScopeLabel, col(ScopeLabel.label_id) == col(LabelMembership.label_id))
    .where(col(LabelMembership.host_id) == col(Host.id))
    .order_by(col(LabelMembership.label_id))
    .correlate(Host)
    .scalar_subquery(),
    type_=ARRAY(BigInteger),
)
_columns = (
    col(Host.id),
    func.greatest(col(Host.revision), _scope_revision).label("revision"),
    col(Host.node_key_hash),
    col(Host.orbit_key_hash),
    col(Host.team_id),
    col(Host.platform),
    _scope_labels.label("scope_labels"),
)


async def of_ids(session: AsyncSession, host_ids: Sequence[int]) -> list[HostRecord]:
    """Return the records of the hosts that exist, in id order."""
    statement = select(*_columns).where(is_any_of(col(Host.id), host_ids)).order_by(col(Host.id))
    return [_record(row) for row in await session.execute(statement)]


async def of_key_hashes(session: AsyncSession, key_hashes: Sequence[bytes]) -> tuple[list[HostRecord], int]:
    """Return the records of the node keys that exist, and the newest revision seen. One statement, so one moment."""
    return await _of_hashes(session, col(Host.node_key_hash), key_hashes)


async def of_orbit_key_hashes(session: AsyncSession, key_hashes: Sequence[bytes]) -> tuple[list[HostRecord], int]:
    """Return the same for orbit keys."""
    return await _of_hashes(session, col(Host.orbit_key_hash), key_hashes)


async def _of_hashes(session: AsyncSession, column: Any, key_hashes: Sequence[bytes]) -> tuple[list[HostRecord], int]:
    keys = func.unnest(cast(list(key_hashes), ARRAY(LargeBinary))).table_valued("hash", name="keys").render_derived()
    statement = (
        select(_scope_revision.label("scope_revision"), *_columns)
        .select_from(keys)
        .join(Host, column == keys.c.hash, isouter=True)
    )
    rows = (await session.execute(statement)).all()
    found = [_record(row) for row in rows if row.id is not None]
    scope_revision = max((int(row.scope_revision) for row in rows), default=0)
    return found, max([scope_revision, *(record.revision for record in found)])


def _record(row: Row[Any]) -> HostRecord:
    return HostRecord(
        host_id=row.id,
        revision=row.revision,
        node_key_hash=_hex(row.node_key_hash),
        orbit_key_hash=_hex(row.orbit_key_hash),
        team_id=row.team_id,
        platform=row.platform,
        scope_labels=tuple(row.scope_labels),
    )


def _hex(key_hash: bytes | None) -> str | None:
    return None if key_hash is None else bytes(key_hash).hex()
