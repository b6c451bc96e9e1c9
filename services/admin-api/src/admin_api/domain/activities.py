"""Who did what: written in the transaction of the deed itself."""

from __future__ import annotations

from typing import Any

from flotilla_common.db.models.admin_api import Activity
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain.viewer import Viewer
from admin_api.store import activities


async def record(
    session: AsyncSession, viewer: Viewer | None, activity_type: str, details: dict[str, Any] | None = None
) -> None:
    """Write an activity; without a viewer nobody is named (a failed login)."""
    await activities.add(
        session,
        Activity(
            type=activity_type,
            details=details,
            actor_id=viewer.user_id if viewer else None,
            actor_full_name=viewer.name if viewer else None,
            actor_email=viewer.email if viewer else None,
        ),
    )
