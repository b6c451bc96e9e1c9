"""Activities that events about hosts cause, each at most once however often the event comes."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flotilla_common.db.models.admin_api import Activity
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

SERVER = "Fleet"  # the name under which the API shows what the server does by itself


async def add_once(session: AsyncSession, event_id: UUID, activity_type: str, details: dict[str, Any]) -> None:
    """Store what the server did, unless this event was told of before."""
    row = {
        "type": activity_type,
        "details": details,
        "actor_full_name": SERVER,
        "fleet_initiated": True,
        "source_event_id": str(event_id),
    }
    await session.execute(insert(Activity).values(row).on_conflict_do_nothing(index_elements=["source_event_id"]))
