"""Teams as the API shows them (admin API part 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flotilla_common.db.models.admin_api import EnrollSecret, Team
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain import config_fixed, enroll_secrets, team_blocks
from admin_api.domain.authorize import Action, Subject, is_allowed
from admin_api.domain.enroll_secrets import PlainSecret
from admin_api.domain.viewer import Viewer
from admin_api.store import enroll_secrets as secret_store
from admin_api.store import teams as team_store


async def team_objects(session: AsyncSession, viewer: Viewer, key: bytes, rows: Sequence[Team]) -> list[dict[str, Any]]:
    """Return teams with their numbers and secrets; secrets are masked where the viewer may not see them."""
    ids = [row.id or 0 for row in rows]
    users = await team_store.user_counts(session, ids)
    hosts = await team_store.host_counts(session, ids)
    secrets = await secret_store.of_teams(session, ids)
    uses = await secret_store.uses(session, [secret for found in secrets.values() for secret in found])
    found = []
    for row in rows:
        team_id = row.id or 0
        numbers = {"user_count": users.get(team_id, 0), "host_count": hosts.get(team_id, 0)}
        shown = shown_secrets(viewer, key, team_id, secrets.get(team_id, []), uses)
        found.append({**_settings(row), **numbers, "secrets": [secret_object(secret) for secret in shown]})
    return found


def _settings(row: Team) -> dict[str, Any]:
    document = team_blocks.complete(row.document)
    del document["gitops_filename"]
    return {
        "id": row.id,
        "created_at": row.created_at,
        "name": row.name,
        "description": row.description,
        "agent_options": row.agent_options,
        "merge_mode": row.merge_mode,
        **document,
        "mdm": config_fixed.TEAM_MDM,
    }


async def team_answer(session: AsyncSession, viewer: Viewer, key: bytes, row: Team) -> dict[str, Any]:
    """Return `{team}`."""
    [team] = await team_objects(session, viewer, key, [row])
    return {"team": team}


def shown_secrets(
    viewer: Viewer, key: bytes, team_id: int, rows: Sequence[EnrollSecret], uses: Mapping[int, int]
) -> list[PlainSecret]:
    """Return a team's secrets as this viewer may see them; `uses` by id, of those whose use is limited."""
    masked = not is_allowed(viewer, Action.SEE_TEAM_SECRETS, Subject(team_id))
    return enroll_secrets.reveal(key, rows, uses, masked=masked)


def secret_object(secret: PlainSecret) -> dict[str, Any]:
    """Return a secret; a global one names no team, and only limits that it has are shown."""
    team = {} if secret.team_id is None else {"team_id": secret.team_id}
    return {"secret": secret.secret, "created_at": secret.created_at, **team, **secret.limits}
