"""Tables users and user_teams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from flotilla_common.db.models.admin_api import Activity, Label, Query, Team, User, UserTeam
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from admin_api.store.listing import ListOptions, Sortable, page_of

ORDER_KEYS: dict[str, Sortable] = {
    name: col(getattr(User, name)) for name in ("id", "name", "email", "global_role", "created_at", "updated_at")
}


async def count(session: AsyncSession) -> int:
    """Return how many users there are."""
    return (await session.scalar(select(func.count()).select_from(User))) or 0


async def get(session: AsyncSession, user_id: int) -> User | None:
    """Return one user."""
    return await session.get(User, user_id)


async def find_by_email(session: AsyncSession, email: str) -> User | None:
    """Return the user with this address, whatever its case; addresses are stored as Python lowers them."""
    statement = select(User).where(func.lower(col(User.email)) == func.lower(email.lower()))
    return (await session.scalars(statement)).one_or_none()


async def page(session: AsyncSession, options: ListOptions, *, team_id: int | None = None) -> Sequence[User]:
    """Return a page of users, of one team's where it is given."""
    statement = select(User)
    if team_id is not None:
        members = select(col(UserTeam.user_id)).where(col(UserTeam.team_id) == team_id)
        statement = statement.where(col(User.id).in_(members))
    rows, _ = await page_of(
        session,
        statement,
        options,
        order_keys=ORDER_KEYS,
        row_id=col(User.id),
        search=(col(User.name), col(User.email)),
    )
    return rows


async def team_roles(session: AsyncSession, user_id: int) -> dict[int, str]:
    """Return a user's role on each team."""
    statement = select(col(UserTeam.team_id), col(UserTeam.role)).where(col(UserTeam.user_id) == user_id)
    return {row.team_id: row.role for row in await session.execute(statement)}


async def teams_by_user(session: AsyncSession, user_ids: Iterable[int]) -> dict[int, list[tuple[Team, str]]]:
    """Return each user's teams with the role there, by team id."""
    statement = (
        select(col(UserTeam.user_id), Team, col(UserTeam.role))
        .join(Team, col(Team.id) == col(UserTeam.team_id))
        .where(col(UserTeam.user_id).in_(list(user_ids)))
        .order_by(col(Team.id))
    )
    found: dict[int, list[tuple[Team, str]]] = {}
    for user_id, team, role in await session.execute(statement):
        found.setdefault(user_id, []).append((team, role))
    return found


async def set_team_roles(session: AsyncSession, user_id: int, roles: Mapping[int, str]) -> None:
    """Make these the user's teams."""
    await session.execute(delete(UserTeam).where(col(UserTeam.user_id) == user_id))
    session.add_all(UserTeam(user_id=user_id, team_id=team_id, role=role) for team_id, role in roles.items())
    await session.flush()


async def lock_global_admins(session: AsyncSession) -> set[int]:
    """Return the ids of the global admins who have a password; until the transaction ends nobody else changes them."""
    where = (col(User.global_role) == "admin", col(User.sso_enabled).is_(False))
    statement = select(col(User.id)).where(*where).order_by(col(User.id)).with_for_update()
    return {user_id or 0 for user_id in await session.scalars(statement)}


async def remove(session: AsyncSession, user_id: int) -> None:
    """Remove a user; what they made stays, without them as its author's id."""
    await session.execute(delete(UserTeam).where(col(UserTeam.user_id) == user_id))
    for table in (Query, Label):
        await session.execute(update(table).where(col(table.author_id) == user_id).values(author_id=None))
    await session.execute(update(Activity).where(col(Activity.actor_id) == user_id).values(actor_id=None))
    await session.execute(delete(User).where(col(User.id) == user_id))
