"""The first admin: makes the config row with its defaults and a random global enroll secret as well."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flotilla_common.contracts.definitions import AgentOptionsChangedV1, AppConfigChangedV1
from flotilla_common.db import outbox
from flotilla_common.db.models.admin_api import User
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain import agent_options, app_config, enroll_secrets, names, sessions, users
from admin_api.domain.passwords import Passwords, check_strength
from admin_api.domain.secret_limits import WantedSecret
from admin_api.domain.tokens import new_enroll_secret
from admin_api.errors import InvalidArgument
from admin_api.store import app_config as stored
from admin_api.store import users as user_store


@dataclass(frozen=True)
class FirstAdmin:
    """What setup is told."""

    name: str
    email: str
    password: str
    org_name: str
    org_logo_url: str
    server_url: str


async def is_set_up(session: AsyncSession) -> bool:
    """Tell whether any user exists."""
    return await user_store.count(session) > 0


async def set_up(
    session: AsyncSession, passwords: Passwords, secrets_key: bytes, first: FirstAdmin, *, now: datetime
) -> tuple[User, str] | None:
    """Make the first admin and log them in: (user, token); None where a user exists already.

    Raises:
        InvalidArgument: something is missing or too weak.

    """
    _check(first)
    await stored.lock_setup(session)
    if await is_set_up(session):
        return None
    user = User(
        name=first.name.strip() or first.email.strip(),
        email=users.normal_email(first.email),
        password_hash=await passwords.hash(first.password),
        global_role="admin",
        settings={},
    )
    session.add(user)
    await session.flush()
    await _store_config(session, first)
    if not await enroll_secrets.has_any(session):
        await enroll_secrets.replace(session, secrets_key, None, [WantedSecret(new_enroll_secret())])
    return user, await sessions.open_session(session, user, now=now)


async def _store_config(session: AsyncSession, first: FirstAdmin) -> None:
    row = await stored.get(session, lock=True)
    row.document = app_config.initial_document(first.org_name, first.org_logo_url, first.server_url.rstrip("/"))
    row.agent_options = agent_options.DEFAULTS
    await outbox.add(session, AppConfigChangedV1(), AgentOptionsChangedV1(team_id=None))


def _check(first: FirstAdmin) -> None:
    app_config.check_url("server_url", first.server_url)
    users.check_email(first.email)
    names.check_length("name", first.name)
    if not first.password:
        raise InvalidArgument("password", "missing required argument")
    check_strength(first.password, "password")
