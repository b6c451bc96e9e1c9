"""Enroll secrets, global and of teams (admin API part 6). A given list replaces the present one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from admin_api.deps import DepsDep
from admin_api.domain import enroll_secrets, secret_limits, teams
from admin_api.domain.authorize import Action, authorize
from admin_api.domain.enroll_secrets import Overlap
from admin_api.domain.secret_limits import WantedSecret
from admin_api.domain.team_objects import secret_object, shown_secrets
from admin_api.errors import InvalidArgument
from admin_api.routes.authentication import ViewerDep
from admin_api.routes.bodies import ApiBody
from admin_api.routes.versions import Flag, Id, members_router
from admin_api.store import enroll_secrets as stored

router = members_router("enroll secrets")


class SecretBody(ApiBody, extra="forbid"):
    """One secret, with its limits (not in Fleet); a misspelt one is refused, or the secret would be unlimited.

    A limit that is left out stays as it is, null lifts it.
    """

    secret: str = ""
    expires_at: str | None = Field(None, description="it is good until this moment (RFC 3339)")
    max_uses: int | None = Field(None, description="it lets in so many enrolls")
    allowed_networks: list[str] | None = Field(None, description="networks (CIDR) from which it is good")
    created_at: Any = Field(None, description="what a read printed; means nothing, as the next two")
    team_id: Any = None
    uses: Any = None

    def wanted(self) -> WantedSecret:
        """Return what the domain knows.

        Raises:
            InvalidArgument: a limit makes no sense.

        """
        return secret_limits.wanted(self)


class SecretsBody(ApiBody, extra="forbid"):
    """A whole set; an empty one lets no host in. With a misspelt `overlap_until` the old one would stop at once."""

    secrets: list[SecretBody] | None = None
    overlap_until: str | None = Field(
        None, description="until this moment (RFC 3339) secrets that are left out go on to work (not in Fleet)"
    )

    def wanted(self) -> list[WantedSecret]:
        """Return the secrets.

        Raises:
            InvalidArgument: no list was given, or a limit makes no sense.

        """
        if self.secrets is None:
            raise InvalidArgument("secrets", "missing required argument")
        return [entry.wanted() for entry in self.secrets]

    def overlap(self, now: datetime) -> Overlap | None:
        """Return how long the present secrets stay beside the new ones.

        Raises:
            InvalidArgument: it is no moment.

        """
        if self.overlap_until is None:
            return None
        return Overlap(secret_limits.moment("overlap_until", self.overlap_until), now)


class SpecBody(ApiBody):
    """What the command line applies."""

    spec: SecretsBody = SecretsBody()


@router.get("/spec/enroll_secret")
async def get_global_secrets(deps: DepsDep, viewer: ViewerDep) -> dict[str, Any]:
    """Print the global secrets: hosts that use one of them join no team."""
    authorize(viewer, Action.READ_GLOBAL_SECRETS)
    async with deps.sessions.begin() as session:
        found = await enroll_secrets.of_scope(session, deps.secrets_key, None)
    return {"spec": {"secrets": [secret_object(secret) for secret in found]}}


@router.post("/spec/enroll_secret")
async def apply_global_secrets(
    deps: DepsDep, viewer: ViewerDep, body: SpecBody, dry_run: Flag = False
) -> dict[str, Any]:
    """Replace the global secrets."""
    authorize(viewer, Action.WRITE_GLOBAL_SECRETS)
    wanted, overlap = body.spec.wanted(), body.spec.overlap(deps.clock())
    async with deps.sessions.begin() as session:
        if dry_run:
            await enroll_secrets.rehearse(session, deps.secrets_key, wanted)
        else:
            await enroll_secrets.change(session, viewer, deps.secrets_key, None, wanted, overlap)
    return {}


@router.get("/teams/{team_id:int}/secrets")
async def get_team_secrets(deps: DepsDep, viewer: ViewerDep, team_id: Id) -> dict[str, Any]:
    """List a team's secrets; masked for those who may only know how many there are."""
    async with deps.sessions.begin() as session:
        await teams.find(session, viewer, team_id, Action.READ_TEAM_SECRETS)
        rows = await stored.of_scope(session, team_id)
        found = shown_secrets(viewer, deps.secrets_key, team_id, rows, await stored.uses(session, rows))
    return {"secrets": [secret_object(secret) for secret in found]}


@router.patch("/teams/{team_id:int}/secrets")
async def replace_team_secrets(deps: DepsDep, viewer: ViewerDep, team_id: Id, body: SecretsBody) -> dict[str, Any]:
    """Replace a team's secrets."""
    async with deps.sessions.begin() as session:
        team = await teams.find(session, viewer, team_id, Action.WRITE_TEAM_SECRETS, lock=True)
        wanted, overlap = body.wanted(), body.overlap(deps.clock())
        found = await enroll_secrets.change(session, viewer, deps.secrets_key, team, wanted, overlap)
    return {"secrets": [secret_object(secret) for secret in found]}
