"""A service refuses to start on an older schema."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from flotilla_common.db.migrate import head
from flotilla_common.errors import Unavailable


async def verify_schema(engine: AsyncEngine) -> None:
    """Check that the database is at this release's revision.

    Raises:
        Unavailable: it is older, newer, or was never migrated.

    """
    try:
        async with engine.connect() as connection:
            found = await connection.scalar(text("SELECT version_num FROM public.alembic_version"))
    except ProgrammingError:
        found = None
    if found != head():
        raise Unavailable(f"the database is at revision {found}, this release needs {head()}: run `make migrate`")
