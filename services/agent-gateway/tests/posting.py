"""Log POSTs, and what a gateway holds of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from .conftest import House


def logs_of(key: str, *, size: int = 100) -> dict[str, Any]:
    return {"data": [{"text": "x" * size}], "log_type": "result", "node_key": key}


async def most_held(house: House, body: bytes, **headers: str) -> tuple[Any, int]:
    """Post logs in pieces; return the answer and how many bytes of bodies were held at most meanwhile."""
    most = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal most
        for start in range(0, len(body), 64 * 1024):
            yield body[start : start + 64 * 1024]
            most = max(most, house.gateway.memory.used)

    reply = await house.client.post("/api/osquery/log", content=pieces(), headers=headers)
    assert "connection" not in reply.headers
    return reply.json(), most
