"""Make a new installation useful: an admin, a team, scheduled queries; over HTTP, like any other client."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

TIMEOUT_SECONDS = 20.0
TEAM = "Workstations"
QUERIES: tuple[dict[str, object], ...] = (
    {
        "name": "Operating system",
        "query": "SELECT name, version, platform FROM os_version",
        "interval": 10,
        "logging": "snapshot",
        "automations_enabled": True,
    },
    {
        "name": "Uptime",
        "query": "SELECT days, hours, total_seconds FROM uptime",
        "interval": 10,
        "logging": "differential",
        "automations_enabled": True,
    },
    {
        "name": "Local users",
        "query": "SELECT uid, username, directory FROM users",
        "interval": 60,
        "logging": "snapshot",
        "automations_enabled": True,
    },
)


class SeedError(Exception):
    """admin-api refused; the message has its answer."""


@dataclass(frozen=True)
class Seeded:
    """What the run needs to know afterwards."""

    token: str
    enroll_secret: str


def seed(url: str, ca: Path, email: str, password: str) -> Seeded:
    """Set up what is missing; a second call only logs in.

    Raises:
        SeedError: an answer that is neither success nor "exists already".
        httpx2.HTTPError: no answer.

    """
    trust = ssl.create_default_context(cafile=str(ca))
    with httpx2.Client(base_url=url, verify=trust, timeout=TIMEOUT_SECONDS) as client:
        set_up(client, email, password)
        token = str(call(client, "POST", "/api/v1/fleet/login", {"email": email, "password": password})["token"])
        client.headers["Authorization"] = f"Bearer {token}"
        call(client, "POST", "/api/v1/fleet/teams", {"name": TEAM}, also=(409,))
        for query in QUERIES:
            call(client, "POST", "/api/v1/fleet/queries", query, also=(409,))
        spec = call(client, "GET", "/api/v1/fleet/spec/enroll_secret")["spec"]
    if not spec["secrets"]:
        raise SeedError("the installation has no global enroll secret: add one and start again")
    return Seeded(token=token, enroll_secret=str(spec["secrets"][0]["secret"]))


def set_up(client: httpx2.Client, email: str, password: str) -> None:
    """Create the first admin; 404 says that there is one."""
    body = {
        "admin": {"name": "Admin", "email": email, "password": password},
        "org_info": {"org_name": "Flotilla"},
        "server_url": str(client.base_url).rstrip("/"),
    }
    call(client, "POST", "/api/v1/setup", body, also=(404,))


def call(
    client: httpx2.Client, method: str, path: str, body: object = None, *, also: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Send one request and return its JSON object.

    Raises:
        SeedError: the status is neither 2xx nor one of `also`.

    """
    answer = client.request(method, path, json=body) if body is not None else client.request(method, path)
    if not answer.is_success and answer.status_code not in also:
        raise SeedError(f"{method} {path} answered {answer.status_code}: {answer.text.strip()}")
    content: dict[str, Any] = answer.json() if answer.is_success else {}
    return content
