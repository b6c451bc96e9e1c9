"""Calls to admin-api, over HTTP like any other client's."""

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

TIMEOUT_SECONDS = 20.0
API = "/api/v1/fleet"


class SeedError(Exception):
    """admin-api refused; the message has its answer."""


class Client:
    """One connection to admin-api."""

    def __init__(self, http: httpx2.Client) -> None:
        self._http = http

    def call(
        self, method: str, path: str, body: object = None, *, token: str = "", also: tuple[int, ...] = ()
    ) -> tuple[int, dict[str, Any]]:
        """Send one request and return the status with the JSON object, which is empty unless it is a success.

        Raises:
            SeedError: the status is neither 2xx nor one of `also`.

        """
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = self._http.request(method, path, headers=headers, json=body)
        if not answer.is_success and answer.status_code not in also:
            raise SeedError(f"{method} {path} answered {answer.status_code}: {answer.text.strip()}")
        content: dict[str, Any] = answer.json() if answer.is_success else {}
        return answer.status_code, content

    def log_in(self, email: str, password: str) -> tuple[int, str]:
        """Return the status and the new token, which is empty where the login is refused or wants a second step."""
        body = {"email": email, "password": password}
        status, answer = self.call("POST", f"{API}/login", body, also=tuple(range(400, 500)))
        return status, str(answer.get("token", ""))

    def global_secrets(self, token: str) -> list[dict[str, Any]] | None:
        """Return the global enroll secrets as they are shown; None where the token is not good (any more) for that."""
        if not token:
            return None
        status, answer = self.call("GET", f"{API}/spec/enroll_secret", token=token, also=(401, 403))
        return list(answer["spec"]["secrets"]) if status == 200 else None


@contextlib.contextmanager
def client(url: str, ca: Path) -> Iterator[Client]:
    """Connect with trust in our own CA."""
    trust = ssl.create_default_context(cafile=str(ca))
    with httpx2.Client(base_url=url, verify=trust, timeout=TIMEOUT_SECONDS) as http:
        yield Client(http)
