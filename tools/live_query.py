"""Ask all hosts of a running `make run` a question and print the rows as they come: an example of the live-query API.

.venv/bin/python tools/live_query.py "SELECT name, version FROM os_version"

Rows go to standard output, all else to standard error. The status is 0 when every host that is online has answered,
1 when some could not, 2 when the question could not be asked or watched to its end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from flotilla_common.cancellation import heed
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

API = "/api/v1/fleet"
SILENCE_SECONDS = 60.0
BACK_SECONDS = 60.0  # for as long a viewer whose connection broke tries to come back
OPEN_SECONDS = 10.0
AGAIN_SECONDS = 1.0  # before it does
CLOSE_SECONDS = 1.0  # for the server's goodbye, which stands behind all rows that were not read yet


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
        asyncio.run(viewer.watch())
    except Ended as end:
        return tell(str(end), 2)
    except Unread:
        drop_rows()
        return 0
    except KeyboardInterrupt:
        drop_rows()
        later = viewer.later() if viewer is not None else ""
        return tell(f"\nno longer watching. {later}", 2)
    return tell(viewer.tally.end(), 1 if viewer.tally.is_short else 0)


def drop_rows() -> None:
    """Let nobody wait for, or complain of, a row that is not taken: neither this program nor Python's exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(text: str, status: int = 0) -> int:
    """Print what is no row."""
    print(text, file=sys.stderr)
    return status


class Tally:
    """What the frames of a campaign have told so far, and how to say it.

    `totals` counts all targeted hosts, `status` those that are online now: a number that changes when hosts come
    and go, so it is no measure of progress.
    """

    def __init__(self) -> None:
        self.answered = self.failed = self.lost = 0
        self.targeted = self.online = 0
        self.held = ""  # what keeps hosts from being asked
        self.is_finished = False

    def totals(self, data: dict[str, Any]) -> str:
        """Take a `totals` frame and return what is worth saying, perhaps nothing."""
        before, self.targeted = self.targeted, data["count"]
        return f"{counted(self.targeted)} targeted, {data['online']} of them online" if not before else ""

    def status(self, data: dict[str, Any]) -> str:
        """Take a `status` frame and return what is worth saying, perhaps nothing."""
        before = (self.answered, self.held)
        self.answered, self.online, self.held = data["actual_results"], data["expected_results"], held_by(data)
        self.is_finished = data["status"] == "finished"
        if (self.answered, self.held) == before:
            return ""
        return f"{self.answered} of {counted(self.targeted)} answered" + (f"; {self.held}" if self.held else "")

    def missing(self, data: dict[str, Any]) -> str:
        """Take a `missing` frame, the word that answers are lost, and return what to say."""
        self.lost += data["answers"]
        why = "damaged" if data["reason"] == "damaged" else "not in the blob store any more"
        return f"answers of up to {counted(data['answers'])} are lost: what was kept of them is {why}"

    @property
    def is_short(self) -> bool:
        """Whether a host that is online could not answer, or its answer is lost."""
        return bool(self.failed or self.lost or self.answered < self.online)

    def end(self) -> str:
        """Say what came of it, also of the hosts that nothing came of."""
        text = f"{self.answered} of {counted(self.targeted)} answered, {self.failed} of them with an error"
        if self.lost:
            text += f"; answers of up to {self.lost} are lost"
        early = max(self.online - self.answered, 0)
        if early:
            text += f"; the live query was ended before {counted(early)} online had answered"
        if (offline := self.targeted - self.answered - early) > 0:
            text += f"; {counted(offline)} {'was' if offline == 1 else 'were'} offline and not asked"
        return text


def counted(hosts: int) -> str:
    """Return a number of hosts in words."""
    return "1 host" if hosts == 1 else f"{hosts} hosts"


def held_by(status: dict[str, Any]) -> str:
    """Return what keeps a campaign from asking hosts, by its `status` frame; empty when nothing does."""
    if status.get("paused_at"):
        return f"paused since {status['paused_at']}: {printable(status.get('pause_reason') or 'no reason was given')}"
    if status.get("halted"):
        return "an administrator has turned live queries off; those that run go on when they are on again"
    return ""


class Viewer:
    """One campaign, from the question to the last answer."""

    def __init__(self, home: Path) -> None:
        try:
            dev = json.loads((home / "dev.json").read_text("utf-8"))
            self.token = (home / "api_token").read_text("utf-8").strip()
            self.trust = ssl.create_default_context(cafile=dev["ca_file"])
            self.url: str = dev["url"]
        except (OSError, ValueError, LookupError) as error:
            raise Ended(f"no running Flotilla in {home} ({error}): start it with `make run`") from error
        self.home = home
        self.campaign_id = 0
        self.last: str | None = None  # position of the newest answer that came
        self.heard = 0
        self.tally = Tally()

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

    async def watch(self) -> None:
        """Print each row with its host until the campaign is finished for all who are online.

        A connection that breaks is made again, and goes on behind the last answer that came. On an event loop: with a
        thread for each direction Python's TLS loses what comes, or crashes, at times (cpython's issue 151508). While
        nobody takes the rows no ping is answered, so that a long pause of a pager is a connection that breaks.
        """
        broken_since: float | None = None
        while True:
            heard_before = self.heard
            try:
                address = self.url.replace("https://", "wss://") + f"{API}/results/websocket"
                async with connect(
                    address, ssl=self.trust, max_size=None, open_timeout=OPEN_SECONDS, close_timeout=CLOSE_SECONDS
                ) as socket:
                    return await self._converse(socket)
            except (OSError, WebSocketException) as error:
                if self.heard > heard_before or broken_since is None:
                    broken_since = time.monotonic()
                if time.monotonic() > broken_since + BACK_SECONDS:
                    raise Ended(f"the connection breaks again and again ({words_of(error)}). {self.later()}") from error
                tell(f"the connection broke ({words_of(error)}); connecting again ...")
                await asyncio.sleep(AGAIN_SECONDS)

    async def _converse(self, socket: ClientConnection) -> None:
        selection = {"campaign_id": self.campaign_id} | ({"last": self.last} if self.last else {})
        await socket.send(json.dumps({"type": "auth", "data": {"token": self.token}}))
        await socket.send(json.dumps({"type": "select_campaign", "data": selection}))
        while True:
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    frame = json.loads(await socket.recv())
            except TimeoutError:
                held = f" ({self.tally.held})" if self.tally.held else ""
                raise Ended(f"nothing new came for {SILENCE_SECONDS:g} s{held}. {self.later()}") from None
            self.heard += 1
            if frame["type"] == "error":
                raise Ended(f"refused: {printable(str(frame['data']))}. {self.later()}")
            with interruptible():
                self.take(frame)
            if self.tally.is_finished:
                return

    def take(self, frame: dict[str, Any]) -> None:
        """Print what a frame says. Types that are not known are passed over."""
        self.last = frame.get("position", self.last)
        if frame["type"] == "result":
            self._show(frame["data"])
        elif frame["type"] in {"totals", "status", "missing"}:
            text = getattr(self.tally, frame["type"])(frame["data"])
            if text:
                tell(text)

    def _show(self, data: dict[str, Any]) -> None:
        if data.get("error"):
            self.tally.failed += 1
            tell(f"{printable(data['host']['hostname'])}: {printable(data['error'])}")
        for row in data["rows"] or ():
            try:
                print(printable(data["host"]["hostname"]), json.dumps(row), flush=True)
            except BrokenPipeError as error:
                raise Unread from error


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end a write that waits for a reader: asyncio's own handler only tells the loop, which waits too."""
    of_loop = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        heed()  # it may have come just before
        yield
    finally:
        signal.signal(signal.SIGINT, of_loop)


def words_of(error: Exception) -> str:
    """Return what an error says; some say nothing but what they are."""
    return str(error) or type(error).__name__


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
