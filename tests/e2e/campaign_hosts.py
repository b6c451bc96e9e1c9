"""Hosts that answer live queries as real ones do, and as bad ones do; all they say and hear is on record.

They are light: one task and one kept connection each, so that a thousand of them leave the machine to the system.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from flotilla_common.contracts.campaigns import QUERY_PREFIX

from .doors import Door, Gateway, NoAnswer, Refused
from .machines import enroll_request

POLL_SECONDS = 3.0
UNKNOWN_CAMPAIGN = 10**9  # and beyond: there is none with such a number
WANDERS = 12  # polls of a host that came back: the gateway that it took a query from asks again a minute later
STRANGE_SHARE = 0.03  # of polls are followed by an answer to a campaign that the host was not given
HUGE_ROWS = 12_000  # more than are kept of a host
HABITS = {
    "plain": 54,  # answers, and says it again until it is taken
    "twice": 14,  # gives another answer once the first one is taken
    "dies_before": 9,  # takes the query and dies; asked again, it answers
    "dies_after": 9,  # sends its answer and dies, and never hears what became of it; asked again, it has another
    "failed": 6,
    "denylisted": 2,
    "garbles": 3,  # first sends what cannot be read
    "never": 3,  # takes the query and says nothing until it is too late
}
Outcome = Literal["answered", "failed", "denylisted"]


@dataclass
class Answer:
    """One answer that a host gave, once or several times in the same words. Times are Unix seconds."""

    campaign_id: int
    text: str  # that no other answer has; each row holds it
    outcome: Outcome = "answered"
    rows: int = 0
    began: float = 0.0
    taken: float | None = None  # when the host heard that it is
    taken_by: tuple[str, int] | None = None  # gateway and its life

    @property
    def message(self) -> str:
        """What the host says of a failure."""
        return {"answered": "", "failed": f"no such table: {self.text}"}.get(
            self.outcome, "distributed query is denylisted"
        )

    def content(self) -> list[dict[str, str]]:
        """Return its rows."""
        return [{"answer": self.text, "row": str(number)} for number in range(self.rows)]


@dataclass(frozen=True)
class Offer:
    """A query that a host was handed, between `asked` and `at` (Unix seconds)."""

    campaign_id: int
    attempt: int
    gateway: str
    life: int
    asked: float
    at: float


@dataclass
class Asked:
    """A campaign as the people see it who started it. Hosts are known by their identifiers."""

    campaign_id: int
    targets: frozenset[str]
    end: str = "cancelled"  # state of those who do not answer
    takes_strangers: bool = True  # answers of others: its end has not been asked for
    closed_from: float = float("inf")  # who was told before that its answer is taken counts
    closed_by: float = float("inf")  # who began to answer later does not

    def closes(self, began: float, ended: float) -> None:
        """Note between which times it was closed."""
        self.takes_strangers = False
        self.closed_from, self.closed_by = min(self.closed_from, began), min(self.closed_by, ended)


@dataclass
class Record:
    """What hosts said and heard."""

    seed: str
    asked: dict[int, Asked] = field(default_factory=dict)
    answers: defaultdict[tuple[int, str], list[Answer]] = field(default_factory=lambda: defaultdict(list))
    offers: defaultdict[str, list[Offer]] = field(default_factory=lambda: defaultdict(list))
    strange: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    """(gateway, kind) -> answers to campaigns that the host was not given and that were answered with `{}`."""
    strange_unheard: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Gateway -> such answers of which nobody knows whether it read them."""
    garbled: int = 0
    errors: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    invalid: set[str] = field(default_factory=set)
    """Hosts that were told to enroll again."""

    def given(self, campaign_id: int, identifier: str) -> list[Answer]:
        """Return all answers of a host to a campaign, in the order in which it began to send them."""
        return self.answers.get((campaign_id, identifier), [])

    def habit(self, campaign_id: int, identifier: str) -> str:
        """Return what a host does with a campaign's query: by the seed alone."""
        choice = random.Random(f"{self.seed} {campaign_id} {identifier}")
        return choice.choices(list(HABITS), list(HABITS.values()))[0]


class Died(Exception):
    """The host crashed and forgets all that it has not told."""


class CampaignHost:
    """One host at one of the gateways; when that does not answer it goes to the next one.

    A `loyal` one stays at its own: after it took a query and died it comes back there.
    """

    def __init__(
        self, identifier: str, gateways: list[Gateway], home: int, record: Record, *, loyal: bool = False
    ) -> None:
        self.identifier = identifier
        self.node_key = ""
        self.awake = asyncio.Event()
        self.awake.set()
        self.is_resting = False
        """Whether it sleeps: nothing of it is under way."""
        self.has_huge_answers = False
        self._gateways = gateways
        self._at = home
        self._loyal = loyal
        self.record = record
        self._random = random.Random(f"{record.seed} {identifier}")
        self._door = Door()
        self._unsent: dict[str, Answer] = {}  # query name -> answer: in memory, as osqueryd keeps it
        self._again: list[str] = []  # names of queries that it will answer once more
        self._numbers: defaultdict[int, int] = defaultdict(int)
        self._wanders = 0  # for so many polls it asks each gateway in turn

    @property
    def gateway(self) -> Gateway:
        """Where it is now."""
        return self._gateways[self._at]

    @property
    def is_quiet(self) -> bool:
        """Whether it has nothing to say until it is asked."""
        return not self._unsent and not self._again

    async def enroll(self, secret: str) -> None:
        """Trade the secret for a node key."""
        request = enroll_request(self.identifier, secret)
        self.node_key = (await self._door.post(self.gateway, "/enroll", encoded(request)))["node_key"]

    async def config(self, gateway: Gateway) -> dict[str, Any]:
        """Fetch its config from a gateway."""
        return await self._door.post(gateway, "/config", encoded({"node_key": self.node_key}))

    async def live(self) -> None:
        """Poll and answer until cancelled, or told that it is no host any more."""
        try:
            await asyncio.sleep(self._random.uniform(0, POLL_SECONDS))
            while self.identifier not in self.record.invalid:
                self.is_resting = not self.awake.is_set()
                await self.awake.wait()
                self.is_resting = False
                await self._live_once()
                await asyncio.sleep(self._random.uniform(0.8, 1.2) * POLL_SECONDS)
        finally:
            self._door.close()

    async def answer_late(self, names: Collection[str]) -> None:
        """Give the first answers to queries whose time is over."""
        self._unsent = {name: self._new_answer(campaign_of(name)) for name in names}
        while self._unsent:
            try:
                await self._deliver()
            except NoAnswer:
                self._go_elsewhere()

    async def _live_once(self) -> None:
        try:
            await self._round()
        except NoAnswer:
            self._go_elsewhere()
        except Died:
            self._door.close()
            self._unsent, self._again = {}, []
            await asyncio.sleep(self._random.uniform(1, 3))
            self._wanders = WANDERS

    def _go_elsewhere(self) -> None:
        self._door.close()
        if not self._loyal:
            self._at = (self._at + 1) % len(self._gateways)

    async def _round(self) -> None:
        if self._wanders:
            self._wanders -= 1
            self._go_elsewhere()
        asked, life = time.time(), self.gateway.life  # when the answer is looked at here that life may be over
        queries = (await self._post("/distributed/read", {})).get("queries", {})
        for name in queries:
            await self._take(name, asked, life)
        await self._deliver()
        await self._contradict()
        if not self._loyal and self._random.random() < STRANGE_SHARE:
            await self._answer_strangely()

    async def _post(self, path: str, body: dict[str, Any], *, reads_answer: bool = True) -> dict[str, Any]:
        """Post with the node key.

        Raises:
            NoAnswer: none came; Refused: one with an error.

        """
        request = encoded({"node_key": self.node_key, **body})
        content = await self._door.post(self.gateway, path, request, reads_answer=reads_answer)
        if content.get("node_invalid"):
            self.record.invalid.add(self.identifier)
        if "error" in content:
            self.record.errors[f"{path} {content['error']}"] += 1
            raise Refused(content["error"])
        return content

    async def _take(self, name: str, asked: float, life: int) -> None:
        campaign_id, gateway = campaign_of(name), self.gateway
        before = {offer.campaign_id for offer in self.record.offers[self.identifier]}
        offer = Offer(campaign_id, attempt_of(name), gateway.name, life, asked, time.time())
        self.record.offers[self.identifier].append(offer)
        if life == gateway.life:
            gateway.known.add(campaign_id)
        habit = "dies_before" if self._loyal else self.record.habit(campaign_id, self.identifier)
        first = campaign_id not in before
        if habit == "never":
            return
        if first and habit == "dies_before":
            raise Died
        if first and habit == "garbles":
            await self._garble(name)
        if first and habit == "twice":
            self._again.append(name)
        for earlier in [other for other in self._unsent if campaign_of(other) == campaign_id]:
            del self._unsent[earlier]  # it ran again: the newer result takes the place of the older one
        answer = self._unsent[name] = self._new_answer(campaign_id, habit)
        if first and habit == "dies_after":
            await self._die_sending(name, answer)

    def _new_answer(self, campaign_id: int, habit: str = "plain") -> Answer:
        self._numbers[campaign_id] += 1
        answer = Answer(campaign_id, f"{self.identifier} {campaign_id} {self._numbers[campaign_id]}")
        if habit in ("failed", "denylisted"):
            answer.outcome = habit
        else:
            answer.rows = HUGE_ROWS if self.has_huge_answers else self._random.randrange(6)
        return answer

    async def _die_sending(self, name: str, answer: Answer) -> None:
        self._begin(answer)
        try:
            await self._post("/distributed/write", written({name: answer}), reads_answer=False)
        except NoAnswer as error:
            raise Died from error

    async def _garble(self, name: str) -> None:
        body = encoded({"node_key": self.node_key, "queries": {name: [{"answer": "garbled"}]}})[:-5]
        content = await self._door.post(self.gateway, "/distributed/write", body)
        self.record.garbled += "error" in content

    async def _deliver(self) -> None:
        """Send what was not taken yet, all of it in one write; it stays in memory until it is taken."""
        if not self._unsent:
            return
        answers = dict(self._unsent)
        for answer in answers.values():
            self._begin(answer)
        door = self.gateway.name, self.gateway.life
        await self._post("/distributed/write", written(answers))
        now = time.time()
        for name, answer in answers.items():
            answer.taken, answer.taken_by = now, door
            del self._unsent[name]

    async def _contradict(self) -> None:
        """Give another answer to what has been answered: at once or at a later poll, here or at another gateway."""
        if not self._again or self._random.random() < 0.4:
            return
        if self._random.random() < 0.4:
            self._go_elsewhere()
        name = self._again.pop()
        self._unsent[name] = self._new_answer(campaign_of(name))
        await self._deliver()

    def _begin(self, answer: Answer) -> None:
        if not answer.began:
            answer.began = time.time()
            self.record.answers[answer.campaign_id, self.identifier].append(answer)

    async def _answer_strangely(self) -> None:
        gateway, kind, campaign_id = self.gateway, "unknown", UNKNOWN_CAMPAIGN + self._random.randrange(1000)
        if foreign := list(self._foreign()):
            kind, campaign_id = "foreign", self._random.choice(foreign)
        if not gateway.takes_strangers:
            return
        answer = Answer(campaign_id, f"{self.identifier} is strange", rows=1)
        gateway.strangers_inside += 1
        try:
            await self._post("/distributed/write", written({f"{QUERY_PREFIX}{campaign_id}_1": answer}))
            self.record.strange[gateway.name, kind] += 1
        except NoAnswer as error:
            self.record.strange_unheard[gateway.name] += not isinstance(error, Refused)
            raise
        finally:
            gateway.strangers_inside -= 1

    def _foreign(self) -> Iterator[int]:
        """Yield campaigns that the gateway knows and that do not target this host; half of the time none."""
        if self._random.random() < 0.5:
            return
        for campaign_id in self.gateway.known:
            asked = self.record.asked.get(campaign_id)
            if asked is not None and asked.takes_strangers and self.identifier not in asked.targets:
                yield campaign_id


def encoded(content: dict[str, Any]) -> bytes:
    """Return JSON as it is sent."""
    return json.dumps(content, separators=(",", ":")).encode()


def written(answers: dict[str, Answer]) -> dict[str, Any]:
    """Return the body of a write without its key."""
    return {
        "queries": {name: answer.content() for name, answer in answers.items()},
        "statuses": {name: int(answer.outcome != "answered") for name, answer in answers.items()},
        "messages": {name: answer.message for name, answer in answers.items()},
    }


def campaign_of(name: str) -> int:
    """Return the campaign that a query's name tells."""
    return int(name.removeprefix(QUERY_PREFIX).split("_")[0])


def attempt_of(name: str) -> int:
    """Return which offer of its gateway a query's name tells."""
    return int(name.removeprefix(QUERY_PREFIX).split("_")[1])
