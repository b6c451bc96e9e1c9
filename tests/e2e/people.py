"""A person at the REST API and its WebSockets."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import websockets

API = "/api/latest/fleet"
TIMEOUT_SECONDS = 60.0


@dataclass
class Watched:
    """What a viewer of a live query was shown."""

    results: list[dict[str, Any]]
    totals: dict[str, int]
    status: dict[str, Any]

    @property
    def host_ids(self) -> list[int]:
        return [result["host"]["id"] for result in self.results]


class Person:
    """Somebody with a token."""

    def __init__(self, client: httpx2.AsyncClient, trust: ssl.SSLContext, token: str) -> None:
        self.client = client
        self.trust = trust
        self.token = token

    async def call(self, method: str, path: str, body: object = None, **parameters: Any) -> dict[str, Any]:
        """Send a request that must succeed and return its JSON object."""
        reply = await self.client.request(method, API + path, json=body, params=parameters or None)
        assert reply.is_success, f"{method} {path}: {reply.status_code} {reply.text}"
        content: dict[str, Any] = reply.json()
        return content

    async def team(self, name: str, *, mode: str, options: dict[str, Any]) -> tuple[int, str]:
        """Make a team; return its id and its enroll secret."""
        team = (await self.call("POST", "/teams", {"name": name, "merge_mode": mode}))["team"]
        await self.call("POST", f"/teams/{team['id']}/agent_options", options)
        secrets = (await self.call("GET", f"/teams/{team['id']}/secrets"))["secrets"]
        return team["id"], secrets[0]["secret"]

    async def hosts(self, **parameters: Any) -> list[dict[str, Any]]:
        """List hosts."""
        found: list[dict[str, Any]] = (await self.call("GET", "/hosts", **parameters))["hosts"]
        return found

    async def run(self, sql: str, **selected: Sequence[int]) -> int:
        """Start a live query and return its campaign id."""
        body = {"query": sql, "selected": {"hosts": [], "labels": [], "teams": []} | selected}
        campaign_id: int = (await self.call("POST", "/queries/run", body))["campaign"]["id"]
        return campaign_id

    async def watch(self, campaign_id: int, *, seconds: float = TIMEOUT_SECONDS, linger: float = 0.0) -> Watched:
        """Watch a live query until it is finished, and a little longer to see what comes too much."""
        address = str(self.client.base_url).replace("https://", "wss://").rstrip("/") + f"{API}/results/websocket"
        watched = Watched([], {}, {})
        async with websockets.connect(address, ssl=self.trust, max_size=None) as socket:
            await socket.send(json.dumps({"type": "auth", "data": {"token": self.token}}))
            await socket.send(json.dumps({"type": "select_campaign", "data": {"campaign_id": campaign_id}}))
            async with asyncio.timeout(seconds):
                while not is_complete(watched):
                    note(watched, json.loads(await socket.recv()))
            try:
                async with asyncio.timeout(linger):
                    while True:
                        note(watched, json.loads(await socket.recv()))
            except TimeoutError:
                return watched


def is_complete(watched: Watched) -> bool:
    """As the command line clients judge it: as many answers as targets."""
    return bool(watched.totals) and len(watched.results) >= watched.totals["count"]


def note(watched: Watched, message: dict[str, Any]) -> None:
    """Take one message of the socket into account."""
    match message["type"]:
        case "result":
            watched.results.append(message["data"])
        case "totals":
            watched.totals = message["data"]
        case "status":
            watched.status = message["data"]
        case other:
            raise AssertionError(f"{other}: {message}")


@asynccontextmanager
async def person(url: str, ca_file: str, token: str) -> AsyncIterator[Person]:
    """Give a person at this address."""
    trust = ssl.create_default_context(cafile=ca_file)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=url, verify=trust, headers=headers, timeout=TIMEOUT_SECONDS) as client:
        yield Person(client, trust, token)
