"""Table sessions."""

from __future__ import annotations

from datetime import datetime

from flotilla_common.db.models.admin_api import LoginSession, User
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col


async def find(session: AsyncSession, token_hash: bytes) -> tuple[LoginSession, User] | None:
    """Return the login with this token and its user."""
    statement = (
        select(LoginSession, User)
        .join(User, User.id == LoginSession.user_id)  # type: ignore[arg-type]
        .where(LoginSession.token_hash == token_hash)  # type: ignore[arg-type]
    )
    row = (await session.execute(statement)).one_or_none()
    return None if row is None else (row[0], row[1])


async def touch(session: AsyncSession, session_id: int, now: datetime) -> bool:
    """Note that a login was used; false: it has ended meanwhile."""
    statement = update(LoginSession).where(col(LoginSession.id) == session_id).values(accessed_at=now)
    return await session.scalar(statement.returning(col(LoginSession.id))) is not None


async def get(session: AsyncSession, session_id: int) -> LoginSession | None:
    """Return one login."""
    return await session.get(LoginSession, session_id)


async def of_user(session: AsyncSession, user_id: int) -> list[LoginSession]:
    """Return a user's logins, oldest first."""
    statement = select(LoginSession).where(LoginSession.user_id == user_id).order_by(LoginSession.id)  # type: ignore[arg-type]
    return list((await session.scalars(statement)).all())


async def remove(session: AsyncSession, session_id: int) -> None:
    """End one login."""
    await session.execute(delete(LoginSession).where(LoginSession.id == session_id))  # type: ignore[arg-type]


async def remove_of_user(session: AsyncSession, user_id: int) -> None:
    """End all of a user's logins."""
    await session.execute(delete(LoginSession).where(LoginSession.user_id == user_id))  # type: ignore[arg-type]
