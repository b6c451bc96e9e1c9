"""The OpenAPI document and its page, with every asset served from here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import fastapi_offline
from fastapi import FastAPI, Header, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPENAPI_PATH = "/api/openapi.json"
DOCS_PATH = "/api/docs"
ASSETS_PATH = "/api/docs/assets"
ASSETS = Path(fastapi_offline.__file__).parent / "static"

HTML_HEADERS = {
    # The page starts itself by one inline script; everything else comes from this server.
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}


def install(app: FastAPI) -> None:
    """Add the page, its assets, and the headers that belong to HTML."""
    app.mount(ASSETS_PATH, StaticFiles(directory=ASSETS), name="docs-assets")

    @app.get(DOCS_PATH, include_in_schema=False)
    async def page() -> Response:
        """Show the API."""
        return get_swagger_ui_html(
            openapi_url=OPENAPI_PATH,
            title=app.title,
            swagger_js_url=f"{ASSETS_PATH}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS_PATH}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS_PATH}/favicon.png",
        )

    @app.get("/", include_in_schema=False)
    async def front(accept: Annotated[str, Header()] = "") -> Response:
        """Lead a browser to the page; there is nothing here for others."""
        if "text/html" not in accept.lower():
            raise HTTPException(404, "Not Found")
        return RedirectResponse(DOCS_PATH, headers={"Vary": "Accept"})

    app.add_middleware(BrowserHeaders)


class BrowserHeaders:
    """Tells browsers what an answer of ours may do.

    It passes messages on as they are. Starlette's BaseHTTPMiddleware would end an answer that fails half-way like a
    whole one (starlette 1.10, middleware/base.py, `_StreamingResponse`).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with headers added to the answer's."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def add_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                if headers.get("content-type", "").startswith("text/html"):
                    headers.update(HTML_HEADERS)
            await send(message)

        await self._app(scope, receive, add_headers)
