"""Put the parts together: one FastAPI application, whose OpenAPI document shows version `latest`."""

from __future__ import annotations

from fastapi import FastAPI
from flotilla_common.http.tracing import Traced

from admin_api.deps import Deps
from admin_api.routes import ROUTERS, docs, envelope, setup
from admin_api.routes.body_gate import BodyGate, limits_of
from admin_api.routes.envelope import PrettyJSON
from admin_api.routes.versions import include_versions

TITLE = "Flotilla admin API"


def create_app(deps: Deps) -> FastAPI:
    """Return the application; opening and closing the connections in `deps` is the caller's."""
    app = build_app()
    app.state.deps = deps
    app.add_middleware(BodyGate, limits=limits_of(deps.settings))
    app.add_middleware(Traced)  # the last one added is the outermost
    return app


DESCRIPTION = """
Every path exists under `/api/v1/fleet`, `/api/2022-04/fleet` and `/api/latest/fleet`. Log in with `POST /login`; then
send its token as `Authorization: Bearer TOKEN`.

**Live queries.** `POST /queries/run` with
`{"query": "SELECT 1", "selected": {"hosts": [1], "labels": [], "teams": []}}` answers `{"campaign": {"id": N, ...}}`.
To see its rows, open the WebSocket `/api/v1/fleet/results/websocket` (or SockJS under `/api/v1/fleet/results`) and send
two text frames: `{"type": "auth", "data": {"token": "TOKEN"}}`, then
`{"type": "select_campaign", "data": {"campaign_id": N}}`. Frames of type `totals`, `status`, `result` and `error` come
back. After `status` says `finished` nothing more comes: close the socket. The campaign lives while somebody watches.
"""


def build_app() -> FastAPI:
    """Return the application without connections: enough for its OpenAPI document."""
    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        version="0.1.0",
        openapi_url=docs.OPENAPI_PATH,
        docs_url=None,
        redoc_url=None,
        default_response_class=PrettyJSON,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    envelope.install(app)
    app.include_router(setup.router)
    include_versions(app, ROUTERS)
    docs.install(app)
    return app
