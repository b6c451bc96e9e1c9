"""Put the parts together."""

from __future__ import annotations

from fastapi import FastAPI

from agent_gateway.deps import Deps
from agent_gateway.routes import dialect, osquery
from agent_gateway.routes.door import Door


def create_app(deps: Deps) -> Door:
    """Return the ASGI application of both listeners.

    Nothing is redirected (osqueryd would follow, a round trip each), and nothing but hosts' paths exists.
    """
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.state.deps = deps
    for prefix in osquery.PREFIXES:
        app.include_router(osquery.router, prefix=prefix)
    dialect.speak(app)
    return Door(app)
