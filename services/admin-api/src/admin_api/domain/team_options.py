"""A team's agent options: stored as people wrote them, compiled by config-merger in the team's merge mode."""

from __future__ import annotations

from typing import Any

from flotilla_common.contracts.definitions import AgentOptionsChangedV1
from flotilla_common.db import outbox
from flotilla_common.db.models.admin_api import Team
from sqlalchemy import JSON
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain import agent_options
from admin_api.domain.activities import record
from admin_api.domain.teams import MERGE, about, id_of
from admin_api.domain.viewer import Viewer
from admin_api.store.json_columns import put


async def validate(session: AsyncSession, merge_mode: str, document: object, *, force: bool) -> None:
    """Hold a team's document to the rules of its merge mode.

    Raises:
        StrictBodyError: see `agent_options.validate`.

    """
    await agent_options.validate(session, document, force=force, nulls_delete=merge_mode == MERGE)


async def store(session: AsyncSession, viewer: Viewer, team: Team, document: dict[str, Any] | None) -> None:
    """Store a validated document. Null is a document too: it says nothing, and in mode `replace` hosts get nothing."""
    await _put(session, viewer, team, JSON.NULL if document is None else document)


async def clear(session: AsyncSession, viewer: Viewer, team: Team) -> None:
    """Leave the team without a document, so that the installation's is its hosts' again."""
    await _put(session, viewer, team, None)


async def _put(session: AsyncSession, viewer: Viewer, team: Team, value: Any) -> None:
    put(team, "agent_options", value)
    await session.flush()
    await session.refresh(team)
    await record(session, viewer, "edited_agent_options", {"global": False, **about(team)})
    await outbox.add(session, AgentOptionsChangedV1(team_id=id_of(team)))
