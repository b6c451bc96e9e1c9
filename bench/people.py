"""An admin and the gateways, for measures over HTTP."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable
from typing import Any

import httpx2
from flotilla_stack.testing import RunningStack
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedOK

API = "/api/latest/fleet"
TIMEOUT_SECONDS = 60.0


class Admin:
    """The seeded admin of a running stack."""

    def __init__(self, stack: RunningStack) -> None:
        dev = stack.dev()
        self.token: str = dev["admin"]["token"]
        self.trust = ssl.create_default_context(cafile=dev["ca_file"])
        headers = {"Authorization": f"Bearer {self.token}"}
        self.client = httpx2.Client(base_url=dev["url"], verify=self.trust, headers=headers, timeout=TIMEOUT_SECONDS)

    def call(self, method: str, path: str, body: object = None, **parameters: Any) -> dict[str, Any]:
        """Send a request that must succeed.

        Raises:
            RuntimeError: it did not.

        """
        reply = self.client.request(method, API + path, json=body, params=parameters or None)
        if not reply.is_success:
            raise RuntimeError(f"{method} {path} answered {reply.status_code}: {reply.text}")
        content: dict[str, Any] = reply.json()
        return content

    def seconds_of_live_query(self, sql: str, host_ids: list[int]) -> float:
        """Return the seconds from the request to the last result at the viewer.

        Raises:
            RuntimeError: a socket said something else, or ended early.
            TimeoutError: not all hosts answered in a minute.

        """
        begun = time.perf_counter()
        campaign_id = self.start_live_query(sql, hosts=host_ids)
        waiting = set(host_ids)

        def take(host_id: int) -> bool:
            waiting.discard(host_id)
            return not waiting

        self.watch(campaign_id, take)
        if waiting:
            raise RuntimeError(f"{len(waiting)} hosts did not answer")
        return time.perf_counter() - begun

    def start_live_query(self, sql: str, **selected: list[int]) -> int:
        """Ask hosts, labels or teams; return the campaign's id."""
        body = {"query": sql, "selected": {"hosts": [], "labels": [], "teams": []} | selected}
        campaign_id: int = self.call("POST", "/queries/run", body)["campaign"]["id"]
        return campaign_id

    def watch(self, campaign_id: int, take: Callable[[int], bool]) -> None:
        """Watch a campaign as people do, until the socket is closed, or `take` says that a host's answer was the last.

        On an event loop: with a thread for each direction Python's TLS loses what comes, at times.

        Raises:
            RuntimeError: the socket said something else.
            TimeoutError: nothing came in a minute.

        """
        asyncio.run(self._watch(campaign_id, take))

    async def _watch(self, campaign_id: int, take: Callable[[int], bool]) -> None:
        address = str(self.client.base_url).replace("https://", "wss://").rstrip("/") + f"{API}/results/websocket"
        async with connect(address, ssl=self.trust, max_size=None) as socket:
            await socket.send(json.dumps({"type": "auth", "data": {"token": self.token}}))
            await socket.send(json.dumps({"type": "select_campaign", "data": {"campaign_id": campaign_id}}))
            while True:
                try:
                    async with asyncio.timeout(TIMEOUT_SECONDS):
                        message = json.loads(await socket.recv())
                except ConnectionClosedOK:
                    return
                if message["type"] == "error":
                    raise RuntimeError(f"the socket said {message['data']}")
                if message["type"] == "result" and take(message["data"]["host"]["id"]):
                    return


class Door:
    """One host at one gateway, on a kept connection."""

    def __init__(self, url: str) -> None:
        self.client = httpx2.Client(base_url=url, timeout=TIMEOUT_SECONDS, headers={"User-Agent": "orbit"})

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a request of a host."""
        content: dict[str, Any] = self.client.post(f"/api/osquery{path}", json=body).json()
        return content
