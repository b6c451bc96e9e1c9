"""In by HTTP: parse, call domain, answer. `ROUTERS` is the list of everything served under the versioned prefixes."""

from __future__ import annotations

from fastapi import APIRouter

from admin_api.routes import activities, version

ROUTERS: tuple[APIRouter, ...] = (
    version.router,
    activities.router,
)
