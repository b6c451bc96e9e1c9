"""Put the parts together."""

from __future__ import annotations

from fastapi import FastAPI

from agent_gateway.deps import Deps
from agent_gateway.domain.roads import PREFIXES
from agent_gateway.domain.surfaces import DEVICE_PREFIX, DEVICE_PREFIXES, ORBIT_PREFIX
from agent_gateway.hot.road import HotRoad
from agent_gateway.routes import device, dialect, orbit, osquery
from agent_gateway.routes.door import Door


def create_app(deps: Deps, *, is_hot: bool = True, plain_is_shared: bool = True) -> Door:
    """Return the ASGI application of both listeners. Not hot, everything takes the ordinary routes.

    No path is redirected (osqueryd would follow, a round trip each), and nothing but hosts' paths exists.
    """
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.state.deps = deps
    for prefix in PREFIXES:
        app.include_router(osquery.router, prefix=prefix)
    app.include_router(orbit.router, prefix=ORBIT_PREFIX)
    app.include_router(device.unversioned, prefix=DEVICE_PREFIX)
    for prefix in DEVICE_PREFIXES:
        app.include_router(device.router, prefix=prefix)
    dialect.speak(app)
    return Door(app, HotRoad(deps.gateway, deps.guard) if is_hot else None, plain_is_shared=plain_is_shared)
