"""POST /api/setup: the first admin. Afterwards the path is gone."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from admin_api.deps import DepsDep, deps_of
from admin_api.domain import app_config, setup
from admin_api.domain.setup import FirstAdmin
from admin_api.routes.bodies import ApiBody
from admin_api.routes.envelope import PrettyJSON
from admin_api.routes.user_bodies import UserBody, body_of
from admin_api.store import app_config as stored

router = APIRouter(tags=["setup"], default_response_class=PrettyJSON)


class AdminBody(ApiBody):
    """The first admin."""

    name: str = ""
    email: str = ""
    password: str = ""


class OrgBody(ApiBody):
    """Who runs this."""

    org_name: str = ""
    org_logo_url: str = ""


class SetupBody(ApiBody):
    """What setup needs."""

    admin: AdminBody = AdminBody()
    org_info: OrgBody = OrgBody()
    server_url: str = ""


class OrgAnswer(BaseModel):
    """Who runs this, as stored."""

    org_name: str
    org_logo_url: str
    org_logo_url_light_background: str
    contact_url: str


class SetupAnswer(BaseModel):
    """The admin, logged in."""

    admin: UserBody
    org_info: OrgAnswer
    server_url: str
    osquery_enroll_secret: None = None
    token: str


@router.post("/api/setup")
@router.post("/api/v1/setup", include_in_schema=False)
async def set_up(body: SetupBody, deps: DepsDep, request: Request) -> SetupAnswer:
    """Make the first admin, the config and a global enroll secret."""
    first = FirstAdmin(**body.admin.model_dump(), **body.org_info.model_dump(), server_url=body.server_url)
    async with deps.sessions.begin() as session:
        if await setup.is_set_up(session):
            raise HTTPException(404, "Not Found")
        made = await setup.set_up(session, deps.passwords, deps.secrets_key, first, now=deps.clock())
        if made is None:
            raise HTTPException(404, "Not Found")
        config = app_config.complete(await stored.get(session))
        answer = SetupAnswer(
            admin=await body_of(session, made[0]),
            org_info=OrgAnswer(**config["org_info"]),
            server_url=config["server_settings"]["server_url"],
            token=made[1],
        )
    deps_of(request).setup.done = True
    return answer
