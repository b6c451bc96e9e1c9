"""A service refuses to start on an older schema. On a newer one it starts: new releases only add for those before."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from flotilla_common.db.revisions import head, number_of
from flotilla_common.errors import Unavailable


async def verify_schema(engine: AsyncEngine) -> None:
    """Check that the database is at this release's revision or beyond it.

    Raises:
        Unavailable: it is older, or was never migrated.

    """
    try:
        async with engine.connect() as connection:
            found = await connection.scalar(text("SELECT version_num FROM public.alembic_version"))
    except ProgrammingError:
        found = None
    if number_of(found) < number_of(head()):
        raise Unavailable(f"the database is at revision {found}, this release needs {head()}: run `make migrate`")
