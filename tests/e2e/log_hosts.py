"""Hosts that send numbered log lines, as osqueryd does: a batch is sent until it is acknowledged, then the next one.

Among the lines are those that hosts should not send. What each host said and heard is on record.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from .doors import Door, Gateway, NoAnswer
from .machines import enroll_request
from .shipped import LINE_ID

PAUSE_SECONDS = 2.5
LINES_AT_ONCE = 5
PADDING = "x" * 500
HUGE_BYTES = 5_000_000
POISON = "poison-9b1f"
"""In lines that some receivers refuse."""
ID = re.compile(rb'"%s": ?"([^"]+)"' % LINE_ID.encode())
KINDS = {
    "plain": 60,
    "status": 15,
    "numbers": 5,  # where texts belong, and texts where numbers belong
    "unknown_query": 5,
    "newlines": 5,  # within a value, and between members
    "broken": 5,  # is no UTF-8
    "poison": 3,
    "nameless": 2,
}


@dataclass
class Record:
    """What hosts said and heard, by the ids of lines."""

    seed: str
    sent: Counter[str] = field(default_factory=Counter)
    """How often a line went out: so often it may be in the stream."""
    acknowledged: set[str] = field(default_factory=set)
    kinds: dict[str, str] = field(default_factory=dict)
    teams: dict[str, str] = field(default_factory=dict)
    invalid: set[str] = field(default_factory=set)
    """Hosts that were told to enroll again."""
    unanswered: int = 0
    errors: int = 0

    def acknowledged_of(self, *, log_type: str = "", team: str = "") -> set[str]:
        """Return the acknowledged lines that a filter takes."""
        return {name for name in self.acknowledged if self.is_wanted(name, log_type, team)}

    def is_wanted(self, name: str, log_type: str, team: str) -> bool:
        """Whether a filter takes a line; an empty word takes all."""
        of_type = "status" if self.kinds[name] == "status" else "result"
        return log_type in {"", of_type} and team in {"", self.teams[name]}


def ids_of(content: bytes) -> list[str]:
    """Return the ids of the lines in a text, whatever else it is."""
    return [found.decode() for found in ID.findall(content)]


def line_of(name: str, kind: str) -> bytes:
    """Return a line of a kind."""
    line: dict[str, object] = {
        "name": "pack_flotilla_files", "hostIdentifier": "h", "calendarTime": "Fri Nov 27 06:00:00 2026 UTC",
        "unixTime": 1_795_759_200, "epoch": 0, "counter": 3, "numerics": False, "action": "added",
        "columns": {"path": "/etc/ü", "padding": PADDING}, "decorations": {LINE_ID: name},
    }  # fmt: skip
    match kind:
        case "status":
            words = {"severity": 1, "filename": "scheduler.cpp", "line": "83", "message": PADDING, "version": "5.23.0"}
            line = words | {"decorations": {LINE_ID: name}}
        case "numbers":
            line |= {"name": 7, "unixTime": "soon", "columns": {"path": 1, "size": 17, "list": [1, "2"]}}
        case "unknown_query":
            line["name"] = "../../nobody knows \u202e this one"
        case "newlines":
            line["columns"] = {"path": "one\ntwo\r\n"}
        case "poison":
            line["columns"] = {"path": POISON}
        case "nameless":
            del line["name"]
        case "huge":
            line = {"decorations": line["decorations"]} | line | {"columns": {"path": "x" * HUGE_BYTES}}
    text = json.dumps(line, ensure_ascii=False).encode()
    match kind:
        case "newlines":
            return text.replace(b', "action"', b',\n  "action"')
        case "broken":
            return text.replace(b"/etc/", b"/etc/\xff\xfe\x80")
    return text


@dataclass(frozen=True)
class Post:
    """One request."""

    names: Sequence[str]
    body: bytes


class LogHost:
    """One host, at one of the gateways; when that does not answer it goes to the next one."""

    def __init__(self, number: int, gateways: Sequence[Gateway], record: Record, team: str) -> None:
        self.identifier = f"log-{record.seed}-{number}"
        self.team = team
        self.node_key = ""
        self._gateways = gateways
        self._at = number % len(gateways)
        self._record = record
        self._random = random.Random(f"{record.seed} {number}")
        self._door = Door()
        self._posts: deque[Post] = deque()
        self._made = 0

    async def enroll(self, secret: str) -> None:
        """Trade the secret for a node key, until it has one."""
        request = enroll_request(self.identifier, secret)
        while not self.node_key:
            try:
                answer = await self._door.post(self._gateways[self._at], "/enroll", json.dumps(request).encode())
            except NoAnswer:
                answer = {}
            self.node_key = answer.get("node_key", "")
            if not self.node_key:
                await asyncio.sleep(0.5)

    async def live(self, is_over: asyncio.Event) -> None:
        """Send lines until it is over, and end when all are acknowledged."""
        try:
            await asyncio.sleep(self._random.uniform(0, PAUSE_SECONDS))
            while not is_over.is_set():
                self.make(*self._random.choices(list(KINDS), list(KINDS.values()), k=self._lines()))
                await self._send_all()
                await asyncio.sleep(self._random.uniform(0.6, 1.4) * PAUSE_SECONDS)
        finally:
            self._door.close()

    def _lines(self) -> int:
        return self._random.randint(1, LINES_AT_ONCE)

    def make(self, *kinds: str) -> None:
        """Have lines of these kinds sent next."""
        for log_type in ("result", "status"):
            of_type = [kind for kind in kinds if (kind == "status") == (log_type == "status")]
            lines = []
            for kind in of_type:
                self._made += 1
                name = f"{self.identifier}-{self._made}"
                self._record.kinds[name], self._record.teams[name] = kind, self.team
                lines.append((name, line_of(name, kind)))
            if lines:
                head = b'{"node_key":"%s","log_type":"%s","data":[' % (self.node_key.encode(), log_type.encode())
                body = head + b",".join(line for _, line in lines) + b"]}"
                self._posts.append(Post([name for name, _ in lines], body))

    async def _send_all(self) -> None:
        while self._posts:
            if await self._send(self._posts[0]):
                self._posts.popleft()
            else:
                self._at = (self._at + 1) % len(self._gateways)
                await asyncio.sleep(self._random.uniform(0.3, 1.5))

    async def _send(self, post: Post) -> bool:
        """Send one; return whether it was acknowledged."""
        self._record.sent.update(post.names)
        try:
            answer = await self._door.post(self._gateways[self._at], "/log", post.body)
        except NoAnswer:
            self._record.unanswered += 1
            return False
        if answer == {}:
            self._record.acknowledged.update(post.names)
            return True
        self._record.errors += 1
        if answer.get("node_invalid"):
            self._record.invalid.add(self.identifier)
        return False
