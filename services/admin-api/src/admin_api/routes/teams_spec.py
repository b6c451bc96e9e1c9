"""Team specs, as the command line applies them; strict: an unknown key is refused."""

from __future__ import annotations

from typing import Any

from admin_api.deps import DepsDep
from admin_api.domain import teams_spec
from admin_api.domain.activities import record
from admin_api.domain.authorize import Action, authorize_any
from admin_api.domain.json_types import check_depth
from admin_api.domain.teams_spec import ApplyOptions
from admin_api.errors import StrictBodyError
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.bodies import RawObject
from admin_api.routes.versions import Flag, members_router

router = members_router("teams")


@router.post("/spec/teams")
async def apply_team_specs(
    deps: DepsDep,
    viewer: ViewerDep,
    body: RawObject,
    force: Flag = False,
    dry_run: Flag = False,
    overwrite: Flag = False,
) -> dict[str, Any]:
    """Create or change teams by name; all specs are applied or none. A team that a dry run would create has id 0."""
    authorize_any(viewer, Action.WRITE_TEAM)
    specs = [teams_spec.parse(document) for document in _specs(body)]
    options = ApplyOptions(force, overwrite)
    async with deps.sessions.begin() as session:
        done = [
            await teams_spec.apply(session, viewer, deps.secrets_key, spec, options, now=deps.clock()) for spec in specs
        ]
        ids = {team.name: 0 if dry_run and is_new else team.id for team, is_new in done}
        applied = [{"id": team.id, "name": team.name} for team, _ in done]
        await record(session, viewer, "applied_spec_team", {"teams": applied})
        if dry_run:
            await session.rollback()
    return {"team_ids_by_name": ids}


def _specs(body: dict[str, Any]) -> list[dict[str, Any]]:
    check_depth(body)
    for key in body:
        if key.lower() != "specs":
            raise StrictBodyError(f'unsupported key provided: "{key}"')
    specs = next(iter(body.values()), None)
    if not isinstance(specs, list) or not all(isinstance(spec, dict) for spec in specs):
        raise StrictBodyError("invalid value type at 'specs': expected array of objects")
    if not specs:
        raise StrictBodyError("specs must not be empty")
    return specs
