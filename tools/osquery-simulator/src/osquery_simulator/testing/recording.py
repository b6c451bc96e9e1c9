"""Recorded traffic of a real osqueryd: what it sent, and the answers that it got, as a script for the fake server."""

import gzip
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osquery_simulator.overlay import OSQUERY_VERSION
from osquery_simulator.testing.fake_server import Answer, Reply

PREFIX = "/api/v1/osquery/"
SERVER = "https://fleet.example:8443"
HOST_IDENTIFIER = "00000000-0000-4000-8000-000000000001"
HOSTNAME = "host-1"
NODE_KEY = "NODEKEY0000000000000000000000001"
VERSION = "5.23.0-38-ga5b14f63d"
TOO_LARGE = '{"options":{"custom_large":"' + "x" * 4 * 1024 * 1024 + '"}}'


@dataclass(frozen=True)
class Recorded:
    """One request of the real osqueryd."""

    endpoint: str
    seconds: float
    """Since the recorder started."""
    connection: int
    request_on_connection: int
    headers: tuple[tuple[str, str], ...]
    text: str
    """The body, unpacked; empty when the server did not read it."""
    reply: Reply
    note: str

    @property
    def body(self) -> Any:
        """The body, parsed."""
        return json.loads(self.text)

    @property
    def key(self) -> str:
        """The kind of request: the endpoint, and for log posts the type of the lines."""
        return f"log:{self.body['log_type']}" if self.endpoint == "log" and self.text else self.endpoint


def load(path: Path, scenario: str, config: str = "{}") -> list[Recorded]:
    """Read the requests of a scenario; `config` is what it packs into answers whose body was not recorded."""
    entries = json.loads(path.read_text("utf-8"))
    found = [_recorded(entry, config) for entry in entries if entry["scenario"] == scenario and "request" in entry]
    if not found:
        raise ValueError(f"no scenario {scenario} in {path}")
    return found


def _recorded(entry: dict[str, Any], config: str) -> Recorded:
    request, note = entry["request"], entry.get("note", "")
    return Recorded(
        request["path"].removeprefix(PREFIX),
        request["t"],
        request["connection"],
        request["request_on_connection"],
        tuple((name, value) for name, value in request["headers"]),
        request.get("body_text", "").replace(VERSION, OSQUERY_VERSION),
        _reply(entry["response"], note, config),
        note,
    )


def _reply(response: dict[str, Any], note: str, config: str) -> Reply:
    if not response:
        is_early = "before the request body was read" in note
        return Reply(closes=not is_early, closes_early=is_early)
    headers = {name: value for name, value in response["headers"] if name not in {"Content-Type", "Content-Length"}}
    body: str | bytes = response.get("body_text", "").replace("'debian'", "'ubuntu'")  # ours is another machine
    if "bytes of JSON" in response.get("body_note", ""):
        body = TOO_LARGE
    elif "gzip" in response.get("body_note", ""):
        body = gzip.compress(config.encode())
    return Reply(
        body,
        response["status"],
        headers,
        breaks_off="about half of the body" in note,
        delay_seconds=18 if "waited 18 s" in note else 0,
    )


def script(recorded: list[Recorded], url: str) -> dict[str, list[Answer]]:
    """Make the fake server answer as the recorder did; in the end it says `{}` or repeats a key or configuration."""
    answers: dict[str, list[Answer]] = defaultdict(list)
    for request in recorded:
        reply = request.reply
        if "Location" in reply.headers:
            reply.headers["Location"] = reply.headers["Location"].replace(SERVER, url)
        answers[request.key].append(reply)
    for key, replies in answers.items():
        if key not in {"enroll", "config"}:
            replies.append({})
    return dict(answers)
