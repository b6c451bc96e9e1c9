"""Ask all hosts of a running `make run` a question and print the rows as they come: an example of the live-query API.

.venv/bin/python tools/live_query.py "SELECT name, version FROM os_version"

Rows go to standard output, all else to standard error. The status is 0 when every host that is online has answered,
1 when some could not, 2 when the question could not be asked or watched to its end.
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

API = "/api/v1/fleet"
SILENCE_SECONDS = 60.0
BACK_SECONDS = 60.0  # for as long a viewer whose connection broke tries to come back


class Unread(Exception):
    """Nobody reads the rows any more, as behind `head`."""


class Ended(Exception):
    """The question cannot be asked, or not watched any more; the text says why and what to do."""


def main() -> int:
    """Ask, watch, and say in the end what came of it."""
    parser = argparse.ArgumentParser("live_query", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sql")
    parser.add_argument("--home", type=Path, default=Path(".flotilla"), help="the folder of `make run`")
    chosen = parser.parse_args()
    viewer: Viewer | None = None
    try:
        viewer = Viewer(chosen.home)
        viewer.start(chosen.sql)
        viewer.watch()
    except Ended as end:
        return tell(str(end), 2)
    except Unread:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the exit does not complain, either
        return 0
    except KeyboardInterrupt:
        later = viewer.later() if viewer is not None else ""
        return tell(f"\nno longer watching. {later}", 2)
    return tell(f"{viewer.answered} hosts answered, {viewer.failed} of them with an error", 1 if viewer.failed else 0)


def tell(text: str, status: int = 0) -> int:
    """Print what is no row."""
    print(text, file=sys.stderr)
    return status


class Viewer:
    """One campaign, from the question to the last answer."""

    def __init__(self, home: Path) -> None:
        try:
            dev = json.loads((home / "dev.json").read_text("utf-8"))
            self.token = (home / "api_token").read_text("utf-8").strip()
            self.trust = ssl.create_default_context(cafile=dev["ca_file"])
        except (OSError, ValueError) as error:
            raise Ended(f"no running Flotilla in {home} ({error}): start it with `make run`") from error
        self.home = home
        self.url: str = dev["url"]
        self.campaign_id = 0
        self.last: str | None = None  # position of the newest answer that came
        self.answered = self.failed = self.heard = 0

    def start(self, sql: str) -> None:
        """Start a campaign on every host of label 'All Hosts'."""
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            with httpx2.Client(base_url=self.url, verify=self.trust, headers=headers, timeout=30.0) as client:
                labels = answer_of(client.get(f"{API}/labels"))["labels"]
                everybody = [label["id"] for label in labels if label["name"] == "All Hosts"]
                body = {"query": sql, "selected": {"hosts": [], "labels": everybody, "teams": []}}
                started = answer_of(client.post(f"{API}/queries/run", json=body))
        except httpx2.TransportError as error:
            raise Ended(f"{self.url} does not answer ({error}): is `make run` still running?") from error
        self.campaign_id = started["campaign"]["id"]
        for warning in started.get("warnings") or ():
            tell(f"warning: {warning}")
        tell(f"campaign {self.campaign_id}. {self.later()}")

    def later(self) -> str:
        """Say how to look at it without this program."""
        if not self.campaign_id:
            return ""
        ledger = f"{self.url}{API}/campaigns/{self.campaign_id}/ledger"
        return f"What became of each host: curl -K {self.home}/curl.conf {ledger}"

    def watch(self) -> None:
        """Print each row with its host until the campaign is finished for all who are online.

        A connection that breaks is made again, and goes on behind the last answer that came.
        """
        broken_since: float | None = None
        while True:
            heard_before = self.heard
            try:
                address = self.url.replace("https://", "wss://") + f"{API}/results/websocket"
                with connect(address, ssl=self.trust, max_size=None, open_timeout=10.0) as socket:
                    return self._converse(socket)
            except (OSError, WebSocketException) as error:
                if self.heard > heard_before or broken_since is None:
                    broken_since = time.monotonic()
                if time.monotonic() > broken_since + BACK_SECONDS:
                    raise Ended(f"the connection breaks again and again ({error}). {self.later()}") from error
                tell(f"the connection broke ({error}); connecting again ...")
                time.sleep(1.0)

    def _converse(self, socket: ClientConnection) -> None:
        selection = {"campaign_id": self.campaign_id} | ({"last": self.last} if self.last else {})
        socket.send(json.dumps({"type": "auth", "data": {"token": self.token}}))
        socket.send(json.dumps({"type": "select_campaign", "data": selection}))
        while True:
            try:
                frame = json.loads(socket.recv(SILENCE_SECONDS))
            except TimeoutError:
                raise Ended(f"nothing new came for {SILENCE_SECONDS:g} s. {self.later()}") from None
            self.heard += 1
            if frame["type"] == "error":
                raise Ended(f"refused: {frame['data']}. {self.later()}")
            if frame["type"] == "result":
                self._show(frame)
            if frame["type"] == "status":
                tell(f"{frame['data']['actual_results']} of {frame['data']['expected_results']} hosts")
                if frame["data"]["status"] == "finished":
                    return

    def _show(self, frame: dict[str, Any]) -> None:
        data, self.last = frame["data"], frame.get("position", self.last)
        self.answered += 1
        if data.get("error"):
            self.failed += 1
            tell(f"{printable(data['host']['hostname'])}: {printable(data['error'])}")
        for row in data["rows"] or ():
            try:
                print(printable(data["host"]["hostname"]), json.dumps(row), flush=True)
            except BrokenPipeError as error:
                raise Unread from error


def answer_of(reply: httpx2.Response) -> dict[str, Any]:
    """Return what was answered, or say why nothing was done."""
    if reply.is_success:
        found: dict[str, Any] = reply.json()
        return found
    try:
        errors = reply.json()["errors"]
        why = "; ".join(f"{error['name']}: {error['reason']}".removeprefix("base: ") for error in errors)
    except (ValueError, KeyError, TypeError):
        why = reply.text[:200]
    raise Ended(f"refused with {reply.status_code}: {why}")


def printable(text: str) -> str:
    """Return what a host said without what a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


if __name__ == "__main__":
    sys.exit(main())
