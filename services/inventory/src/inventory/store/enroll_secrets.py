"""Enroll secrets, which admin-api keeps: found by lookup hash alone, never read in clear. Their use is counted here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flotilla_common.db.models.admin_api import EnrollSecret
from flotilla_common.db.models.inventory import EnrollRefusal, EnrollSecretUse
from sqlalchemy import Row, Select, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from inventory.store import scope


@dataclass(frozen=True)
class FoundSecret:
    """A secret without its text, and how often it was used (0 where that is not limited)."""

    secret_id: int
    team_id: int | None
    expires_at: datetime | None
    max_uses: int | None
    allowed_networks: tuple[str, ...]
    uses: int


async def find(session: AsyncSession, lookup_hash: bytes) -> FoundSecret | None:
    """Return the secret with this lookup hash (`contracts.secrets_at_rest`)."""
    return _secret((await session.execute(_with(lookup_hash))).one_or_none())


async def find_and_hold_scope(session: AsyncSession, lookup_hash: bytes) -> FoundSecret | None:
    """Return the same, and hold the scope (`store/scope.py`) if there is such a secret: one statement for both."""
    return _secret((await session.execute(_with(lookup_hash).add_columns(scope.held()))).one_or_none())


def _with(lookup_hash: bytes) -> Select[*tuple[Any, ...]]:
    return (
        select(
            col(EnrollSecret.id),
            col(EnrollSecret.team_id),
            col(EnrollSecret.expires_at),
            col(EnrollSecret.max_uses),
            col(EnrollSecret.allowed_networks),
            col(EnrollSecretUse.uses),
        )
        .outerjoin(EnrollSecretUse, col(EnrollSecretUse.secret_id) == col(EnrollSecret.id))
        .where(col(EnrollSecret.lookup_hash) == lookup_hash)
    )


def _secret(row: Row[Any] | None) -> FoundSecret | None:
    if row is None:
        return None
    return FoundSecret(row.id, row.team_id, row.expires_at, row.max_uses, tuple(row.allowed_networks), row.uses or 0)


async def use(session: AsyncSession, secret_id: int, max_uses: int, now: datetime) -> bool:
    """Use a secret once more, unless it was used so often already. One statement: racing uses wait for each other."""
    if max_uses < 1:
        return False
    row = insert(EnrollSecretUse).values(secret_id=secret_id, uses=1, last_used_at=now)
    statement = row.on_conflict_do_update(
        index_elements=["secret_id"],
        set_={"uses": col(EnrollSecretUse.uses) + 1, "last_used_at": row.excluded.last_used_at},
        where=col(EnrollSecretUse.uses) < max_uses,
    ).returning(col(EnrollSecretUse.uses))
    return (await session.execute(statement)).scalar_one_or_none() is not None


async def may_tell(session: AsyncSession, secret_id: int, reason: str, now: datetime, unless_since: datetime) -> bool:
    """Note that a refusal is told now; False when one for this reason was told since that moment."""
    row = insert(EnrollRefusal).values(secret_id=secret_id, reason=reason, told_at=now)
    statement = row.on_conflict_do_update(
        index_elements=["secret_id", "reason"],
        set_={"told_at": row.excluded.told_at},
        where=col(EnrollRefusal.told_at) <= unless_since,
    ).returning(col(EnrollRefusal.secret_id))
    return (await session.execute(statement)).scalar_one_or_none() is not None


async def forget_removed(session: AsyncSession) -> None:
    """Forget use and refusals of secrets that no longer exist."""
    for model in (EnrollSecretUse, EnrollRefusal):
        exists = select(col(EnrollSecret.id)).where(col(EnrollSecret.id) == col(model.secret_id)).exists()
        await session.execute(delete(model).where(~exists))
