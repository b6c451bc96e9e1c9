"""Table enroll_secrets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flotilla_common.db.models.admin_api import EnrollSecret
from flotilla_common.db.models.inventory import EnrollSecretUse
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col


async def of_scope(session: AsyncSession, team_id: int | None) -> Sequence[EnrollSecret]:
    """Return a team's secrets (None: the global ones), oldest first."""
    statement = select(EnrollSecret).where(col(EnrollSecret.team_id).is_not_distinct_from(team_id))
    return (await session.scalars(statement.order_by(col(EnrollSecret.id)))).all()


async def of_teams(session: AsyncSession, team_ids: Iterable[int]) -> dict[int, list[EnrollSecret]]:
    """Return secrets by team."""
    statement = select(EnrollSecret).where(col(EnrollSecret.team_id).in_(list(team_ids))).order_by(col(EnrollSecret.id))
    found: dict[int, list[EnrollSecret]] = {}
    for secret in await session.scalars(statement):
        found.setdefault(secret.team_id or 0, []).append(secret)
    return found


async def uses(session: AsyncSession, secrets: Iterable[EnrollSecret]) -> dict[int, int]:
    """Return how often secrets were used, by id, of those whose use is limited; inventory counts it."""
    limited = [secret.id for secret in secrets if secret.max_uses is not None]
    if not limited:
        return {}
    statement = select(col(EnrollSecretUse.secret_id), col(EnrollSecretUse.uses))
    found = await session.execute(statement.where(col(EnrollSecretUse.secret_id).in_(limited)))
    return {int(row.secret_id): int(row.uses) for row in found}


async def with_lookups(session: AsyncSession, lookups: Iterable[bytes]) -> Sequence[EnrollSecret]:
    """Return the stored secrets with these lookup hashes, of any scope."""
    return (await session.scalars(select(EnrollSecret).where(col(EnrollSecret.lookup_hash).in_(list(lookups))))).all()


async def add(session: AsyncSession, secret: EnrollSecret) -> None:
    """Store one."""
    session.add(secret)
    await session.flush()


async def remove(session: AsyncSession, secret_ids: Iterable[int]) -> None:
    """Remove some."""
    await session.execute(delete(EnrollSecret).where(col(EnrollSecret.id).in_(list(secret_ids))))
