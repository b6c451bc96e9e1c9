"""admin-api as a process, and its first admin: over REST, and at the sockets of live queries."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
from flotilla_stack.servers.ports import choose_port
from websockets.sync.client import ClientConnection, connect  # noqa: TID251 - plain TCP

from bench.house import GatewayProcess, House, wait_until
from bench.load_client import LoadFailed, Target

API = "/api/latest/fleet"
TIMEOUT_SECONDS = 60.0
RECEIVE_BYTES = (
    64 * 1024
)  # the kernel's buffer at a viewer: what it has not taken yet waits in admin-api, as over a network
LARGEST_MESSAGE = 64 * 1024 * 1024


@dataclass
class People:
    """The admin of a fresh installation, and the process that serves it."""

    process: GatewayProcess
    token: str

    @property
    def url(self) -> str:
        """Where admin-api listens."""
        return f"http://127.0.0.1:{self.process.target.plain_port}"

    @property
    def headers(self) -> dict[str, str]:
        """What a request must have."""
        return {"Authorization": f"Bearer {self.token}"}

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Send a request that must succeed.

        Raises:
            LoadFailed: it did not.

        """
        reply = httpx2.request(method, self.url + API + path, json=body, headers=self.headers, timeout=TIMEOUT_SECONDS)
        if not reply.is_success:
            raise LoadFailed(f"{method} {path} answered {reply.status_code}: {reply.text[:300]}")
        content: dict[str, Any] = reply.json()
        return content

    def start_campaign(self, sql: str, host_ids: list[int]) -> int:
        """Start a live query that waits for an hour; return its id."""
        campaign: dict[str, Any] = self.call("POST", "/queries/run", run_of(sql, host_ids))["campaign"]
        return int(campaign["id"])

    def watch(self, campaign_id: int, *, is_slow: bool) -> ClientConnection:
        """Open a viewer's socket; a slow one has little of what it has not read yet on its own side."""
        port = self.process.target.plain_port
        raw = socket.socket()
        if is_slow:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        raw.connect(("127.0.0.1", port))
        viewer = connect(
            f"ws://127.0.0.1:{port}{API}/results/websocket",
            sock=raw,
            max_size=LARGEST_MESSAGE,
            max_queue=1 if is_slow else 16,
            compression=None,
        )
        viewer.send(json.dumps({"type": "auth", "data": {"token": self.token}}))
        viewer.send(json.dumps({"type": "select_campaign", "data": {"campaign_id": campaign_id}}))
        return viewer


def run_of(sql: str, host_ids: list[int]) -> dict[str, Any]:
    """Return the body that starts a live query which waits for an hour."""
    deadline = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    return {"query": sql, "selected": {"hosts": host_ids, "labels": [], "teams": []}, "deadline": deadline}


def start_people(house: House, stores: Mapping[str, str]) -> People:
    """Start admin-api and set it up; the house stops it."""
    port, health = choose_port(), choose_port()
    environment = (
        house.environment("admin_api")
        | dict(stores)
        | {
            "FLOTILLA_SECRETS_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
            "FLOTILLA_LISTEN_PORT": str(port),
            "FLOTILLA_HEALTH_PORT": str(health),
        }
    )
    process, log_file = house.launch("admin-api", [sys.executable, "-m", "admin_api"], environment)
    running = GatewayProcess(Target("admin-api", process.pid, port), process, log_file, health)
    house.keep(running)
    wait_until(running.is_ready, running, "it is ready")
    admin = {"name": "Admin", "email": "admin@example.org", "password": f"{secrets.token_urlsafe(16)}aA1-"}
    reply = httpx2.post(
        f"http://127.0.0.1:{port}/api/v1/setup",
        json={"admin": admin, "org_info": {"org_name": "Bench"}, "server_url": "https://fleet.example.org"},
        timeout=TIMEOUT_SECONDS,
    )
    if not reply.is_success:
        raise LoadFailed(f"setup answered {reply.status_code}: {reply.text[:300]}")
    return People(running, reply.json()["token"])
