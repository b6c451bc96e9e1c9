"""The whole answer where nothing of a request is known but its path: it was cut off, or cannot be read."""

from __future__ import annotations

from agent_gateway.asgi import headers_of
from agent_gateway.domain.surfaces import Headers, surface_of
from agent_gateway.refusals import ASK_AGAIN, LAST_RESORT, refusal_body

CARVE_BLOCK = "/carve/block"


def last_resort(path: str) -> tuple[int, Headers, bytes]:
    """Return status, headers and body for what failed here: a host sends it again, a carver its block too."""
    more = surface_of(path).headers(closes=False)
    if not path.endswith(CARVE_BLOCK):
        return 500, headers_of(LAST_RESORT, [], more), LAST_RESORT
    headers = [(b"content-length", b"%d" % len(ASK_AGAIN)), (b"content-type", b"text/plain; charset=utf-8"), *more]
    return 500, headers, ASK_AGAIN


def refused(path: str, status: int, code: str) -> tuple[int, Headers, bytes]:
    """Return the same for what its sender must change."""
    surface = surface_of(path)
    body = refusal_body(code, surface)
    return status, headers_of(body, [], surface.headers(closes=False)), body
