"""A fault run of live queries: a thousand hosts, viewers, and one part after the other killed; then what is left."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Collection
from dataclasses import dataclass, field

import httpx2
from flotilla_common.contracts.campaigns import QUERY_PREFIX
from flotilla_common.testing.waiting import eventually
from flotilla_stack.control import ask
from flotilla_stack.home import Home
from flotilla_stack.testing import RunningStack

from . import campaign_fleet
from .campaign_desk import Desk
from .campaign_fleet import Fleet, fleet_of, is_gone, put_to_sleep, transfer, wake
from .campaign_hosts import Asked, CampaignHost, Record
from .campaign_truth import Seen
from .doors import gateways_of
from .fault_plan import LAST, Fault, Plan
from .ledger_watch import LedgerWatch
from .people import Person, person
from .resuming import Resuming

FLOWING = 100  # answers to the newest campaign that are taken when a part is killed
FLOW_SECONDS, CALM_SECONDS, PATIENCE_SECONDS = 30.0, 60.0, 90.0
FINISH_SECONDS = 90.0  # who took a question and died is asked again after 60 s, and then polls, and answers
LINGER_SECONDS = 1.0
SETTLE_SECONDS = 3.0  # from the stream to the ledger when nothing is down, on a busy machine
ON_THE_WAY = frozenset(
    {"live-query", "valkey", "postgres", "nats"}
)  # what an answer needs from the stream to the ledger
WITH_DEADLINE, OF_TEAM = 1, 2  # which campaigns are so, in the order of their starts
DELETES_AFTER, MOVES_BACK_AFTER = 3, 4  # faults, counted from 0
SETTLED = re.compile(r'^flotilla_live_query_answers_total\{outcome="(\w+)"\} (\S+)$', re.MULTILINE)


@dataclass
class Outcome:
    """What is left when all is over."""

    plan: Plan
    record: Record
    fleet: Fleet
    watch: LedgerWatch
    viewers: dict[int, list[Resuming]]
    story: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    seen: dict[int, Seen] = field(default_factory=dict)
    ends: dict[int, dict[str, set[str]]] = field(default_factory=dict)
    """Campaign -> identifier -> states of a host that did not answer it, where they are not those of the others."""
    statuses: dict[int, int] = field(default_factory=dict)
    counted: dict[str, dict[str, int]] = field(default_factory=dict)
    """Gateway -> answers to campaigns by outcome, of all its lives."""
    settled: list[dict[str, int]] = field(default_factory=list)
    """Answers by outcome as live-query counted them: before it was killed, and at the end."""
    late: dict[str, int] = field(default_factory=dict)
    """Answers that came after the end: how many were `sent`, and what was counted for them."""
    patient_campaign: int = 0
    team_campaign: int = 0
    moved_back: float = 0.0
    back: set[str] = field(default_factory=set)
    """Hosts that were moved away and back; the others that were moved stayed away."""
    unfinished: dict[int, set[str]] = field(default_factory=dict)

    def is_held_up(self, taken: float) -> bool:
        """Whether an answer that the stream took then may have been caught on its way to the ledger by a fault."""
        return any(
            fault.covers(taken, before=SETTLE_SECONDS, after=SETTLE_SECONDS)
            for fault in self.faults
            if fault.part in ON_THE_WAY
        )


class Storm:
    """One run against a running stack."""

    def __init__(self, stack: RunningStack, admin: Person, plan: Plan) -> None:
        self.stack = stack
        self.admin = admin
        self.plan = plan
        self.choice = random.Random(plan.seed)
        self.gateways = gateways_of(stack.dev())
        self.record = Record(plan.seed)
        self.fleet = fleet_of(self.record, self.gateways)
        self.desk = Desk(admin, self.fleet, self.record, self.choice)
        watch = LedgerWatch(admin, self.record.asked)
        self.outcome = Outcome(plan, self.record, self.fleet, watch, self.desk.viewers)
        self.tasks: list[asyncio.Task[None]] = []
        self.attempts: list[asyncio.Task[None]] = []
        self.watching: list[asyncio.Task[None]] = []
        self.began = time.time()

    async def run(self) -> Outcome:
        """Let it rage, and return what is left."""
        try:
            secret = await self._make_teams()
            await self._gather_patient(secret)
            await self._gather_others(secret)
            for number, (part, seconds) in enumerate(self.plan.faults):
                await self._suffer(number, part, seconds)
            await self._finish()
            await self._look()
        finally:
            await self._put_in_order()
        return self.outcome

    def say(self, text: str) -> None:
        """Note the time and what happens; shown when a test fails."""
        self.outcome.story.append(f"{time.time() - self.began:6.1f} s  {text}")

    async def _make_teams(self) -> str:
        self.fleet.team_id, secret = await self.admin.team(f"Storm {self.plan.seed}", mode="merge", options={})
        away = f"Away {self.plan.seed}"
        self.fleet.other_team_id, _ = await self.admin.team(away, mode="replace", options=campaign_fleet.MOVED_OPTIONS)
        return secret

    async def _gather_patient(self, secret: str) -> None:
        """Ask the patient hosts first: they wait for a minute while all others come."""
        await campaign_fleet.enroll(self.fleet.patient, secret)
        await campaign_fleet.note_ids(self.fleet, self.admin, len(self.fleet.patient))
        self._let_live(self.fleet.patient)
        self.outcome.patient_campaign = (await self.desk.start(self.fleet.patient)).campaign_id

    async def _gather_others(self, secret: str) -> None:
        rest = [host for host in self.fleet.all if not host.node_key]
        await campaign_fleet.enroll(rest, secret)
        await campaign_fleet.note_ids(self.fleet, self.admin, len(self.fleet.all))
        self.say(f"{len(self.fleet.ids)} hosts are there")
        self._let_live(rest)
        self.watching.append(asyncio.create_task(self.outcome.watch.watch()))

    def _let_live(self, hosts: Collection[CampaignHost]) -> None:
        self.tasks += [asyncio.create_task(host.live()) for host in hosts]

    async def _suffer(self, number: int, part: str, seconds: float) -> None:
        """Start a campaign, kill a part while its answers come, and wait until all goes on."""
        if part == LAST:
            await eventually(self._patient_were_asked_again, timeout=PATIENCE_SECONDS)
        asked = await self._start_next(number)
        await eventually(lambda: self._taken(asked.campaign_id) >= FLOWING, timeout=FLOW_SECONDS)
        self.say(f"campaign {asked.campaign_id} flows; {part} is killed, for {seconds:.1f} s")
        await self._strike(part, seconds)
        self.say(f"{part} is back")
        await self._calm()
        if number == DELETES_AFTER:
            await self._delete_hosts()
        if number == MOVES_BACK_AFTER:
            await self._move_back()

    async def _start_next(self, number: int) -> Asked:
        some = [host for host in self.fleet.others if self.choice.random() < 0.9]
        targets = [*some, *self.fleet.moved, *(host for host in self.fleet.deleted if not is_gone(host))]
        if number == OF_TEAM:
            return await self._start_for_team(targets)
        return await self.desk.start(
            targets, deadline_seconds=self.plan.deadline_seconds if number == WITH_DEADLINE else None
        )

    async def _start_for_team(self, targets: list[CampaignHost]) -> Asked:
        """Have it started by somebody of one team, and move hosts out of that team before they are asked."""
        user = {
            "name": "Maintainer",
            "email": f"maintainer-{self.plan.seed}@example.test",
            "password": "Storm-of-2026!",
            "api_only": True,
            "teams": [{"id": self.fleet.team_id, "role": "maintainer"}],
        }
        token = (await self.admin.call("POST", "/users/admin", user))["token"]
        dev = self.stack.dev()
        async with person(dev["url"], dev["ca_file"], token) as maintainer:
            asked = await self.desk.start(targets, by=maintainer)
        self.outcome.team_campaign = asked.campaign_id
        await transfer(self.fleet, self.admin, self.fleet.moved, away=True)
        wake(self.fleet.moved)
        return asked

    def _taken(self, campaign_id: int) -> int:
        given = (answers for (number, _), answers in self.record.answers.items() if number == campaign_id)
        return sum(any(answer.taken for answer in answers) for answers in given)

    def _patient_were_asked_again(self) -> bool:
        campaign_id = self.outcome.patient_campaign
        given = [self.record.given(campaign_id, host.identifier) for host in self.fleet.patient]
        return all(any(answer.taken for answer in answers) for answers in given)

    async def _strike(self, part: str, seconds: float) -> None:
        gateway = next((gateway for gateway in self.gateways if gateway.name == part), None)
        if gateway is not None:
            gateway.takes_strangers = False
            await eventually(lambda: not gateway.strangers_inside, timeout=30)
        if part == "live-query":
            self.outcome.settled.append(await self._settled())
        fault = Fault(part, time.time())
        counted = {} if gateway is None else await gateway.counts()
        self.outcome.faults.append(fault)
        await self._ctl("kill", part)
        if gateway is not None:
            gateway.dies(counted)
        self.attempts.append(asyncio.create_task(self._attempt()))
        await asyncio.sleep(seconds)
        await self._ctl("start", part)
        fault.back = time.time()
        if gateway is not None:
            gateway.takes_strangers = True

    async def _ctl(self, command: str, part: str) -> None:
        await asyncio.to_thread(ask, Home(self.stack.home).control, command, part)

    async def _attempt(self) -> None:
        """Start one while a part is dead: it may be refused, but nothing may be lost of it."""
        try:
            await self.desk.try_to_start(self.choice.sample(self.fleet.others, 50))
        except (AssertionError, httpx2.HTTPError) as error:
            self.say(f"a start was refused: {str(error)[:150]!r}")

    async def _calm(self) -> None:
        """Wait until the ledgers can be read and answers are taken again."""
        before = self._all_taken()

        async def goes_on() -> bool:
            look = await self.outcome.watch.look()
            assert not look.unread, look.unread
            return self._all_taken() > before or all(host.is_quiet for host in self.fleet.others)

        await eventually(goes_on, timeout=CALM_SECONDS)
        await asyncio.gather(*self.attempts)

    def _all_taken(self) -> int:
        return sum(answer.taken is not None for given in self.record.answers.values() for answer in given)

    async def _delete_hosts(self) -> None:
        """Delete hosts of which some have answered and some have not been heard, once what they said is settled."""
        names = {host.identifier for host in self.fleet.deleted}
        await put_to_sleep(self.fleet.deleted)

        async def is_settled() -> bool:
            pending = await self.desk.pending()
            return not any(
                answer.taken is not None and answer.taken < self.record.asked[campaign_id].closed_from
                for campaign_id, waiting in pending.items()
                for name in waiting & names
                for answer in self.record.given(campaign_id, name)
            )

        await eventually(is_settled, timeout=FINISH_SECONDS)
        for campaign_id, asked in self.record.asked.items():
            for name in names & asked.targets:
                ends = {"unreachable"} if asked.closed_by == float("inf") else {"unreachable", asked.end}
                self.outcome.ends.setdefault(campaign_id, {})[name] = ends
        await campaign_fleet.delete(self.fleet, self.admin, self.fleet.deleted)
        self.say(f"{len(names)} hosts are deleted")

    async def _move_back(self) -> None:
        """Move half of the hosts back into the team whose campaign they were not asked for."""
        back = self.fleet.moved[::2]
        await put_to_sleep(back)
        self.outcome.moved_back = await transfer(self.fleet, self.admin, back, away=False)
        self.outcome.back = {host.identifier for host in back}
        wake(back)
        self.say(f"{len(back)} hosts are back in their team")

    async def _finish(self) -> None:
        """Let hosts answer what they can, stop what still runs, and let those answer who did not before."""
        await self.desk.find_others()
        try:
            await eventually(self._is_finished, timeout=FINISH_SECONDS)
        except AssertionError:
            self.outcome.unfinished = await self._awaited()
        self.say("all answers are settled")
        self.outcome.statuses = await self.desk.stop_all()
        self.say("all campaigns are complete")
        await put_to_sleep(self.fleet.all)
        self.say("all hosts sleep")
        await self._answer_late()
        self.say(f"late: {self.outcome.late}")

    async def _is_finished(self) -> bool:
        """Whether all who want to answer have, and nobody else is awaited."""
        look = await self.outcome.watch.next_look()
        counts = self.outcome.watch.counts
        if look.unread or look.read < len(self.record.asked):
            return False  # one that was found a moment ago has not been read
        return all(host.is_quiet for host in self.fleet.all if not is_gone(host)) and all(
            counts[campaign_id]["pending"] <= len(self._silent(campaign_id))
            for campaign_id in self.record.asked
            if counts[campaign_id]["pending"]
        )

    def _silent(self, campaign_id: int) -> set[str]:
        """Return who is awaited for good: who never answers in time, and who may not be asked."""
        targets = self.record.asked[campaign_id].targets - self.record.invalid
        found = {name for name in targets if self.record.habit(campaign_id, name) == "never"}
        if campaign_id == self.outcome.team_campaign:
            found |= {host.identifier for host in self.fleet.moved} - self.outcome.back
        return found

    async def _awaited(self) -> dict[int, set[str]]:
        """Return who should have answered and is awaited."""
        pending = (await self.desk.pending()).items()
        found = {campaign_id: waiting - self._silent(campaign_id) for campaign_id, waiting in pending}
        return {campaign_id: waiting for campaign_id, waiting in found.items() if waiting}

    async def _answer_late(self) -> None:
        names = {
            host: {
                f"{QUERY_PREFIX}{offer.campaign_id}_{offer.attempt}"
                for offer in self.record.offers[host.identifier]
                if not self.record.given(offer.campaign_id, host.identifier)
            }
            for host in self.fleet.all
            if not is_gone(host)
        }
        before, settled = await self._counts(), await self._settled()
        await asyncio.gather(*(host.answer_late(late) for host, late in names.items()))
        after = await self._counts()
        self.outcome.late = {key: after.get(key, 0) - before.get(key, 0) for key in after}
        self.outcome.late["sent"] = sum(map(len, names.values()))

        async def are_settled() -> bool:
            now = (await self._settled()).get("late", 0) - settled.get("late", 0)
            self.outcome.late["settled"] = now
            return now >= self.outcome.late.get("ended", 0)

        await eventually(are_settled, timeout=FINISH_SECONDS)

    async def _counts(self) -> dict[str, int]:
        """Return answers by outcome, of all gateways together."""
        self.outcome.counted = {gateway.name: await gateway.counts() for gateway in self.gateways}
        outcomes = {outcome for counts in self.outcome.counted.values() for outcome in counts}
        return {
            outcome: sum(counts.get(outcome, 0) for counts in self.outcome.counted.values()) for outcome in outcomes
        }

    async def _settled(self) -> dict[str, int]:
        """Return answers by outcome as live-query counts them."""
        async with httpx2.AsyncClient(timeout=10) as http:
            text = (await http.get(self.stack.dev()["services"]["live-query"]["metrics_url"])).text
        return {outcome: round(float(count)) for outcome, count in SETTLED.findall(text)}

    async def _look(self) -> None:
        self.outcome.settled.append(await self._settled())
        ids = list(self.record.asked)
        seen = await asyncio.gather(*map(self.desk.look_at, ids))
        self.outcome.seen = dict(zip(ids, seen, strict=True))
        await asyncio.sleep(LINGER_SECONDS)  # for what viewers should not be shown
        looks = self.outcome.watch.looks
        rows = sum(len(found) for one in seen for found in one.rows.values())
        said = sum(map(len, self.record.answers.values()))
        self.say(
            f"{len(ids)} campaigns, {said} answers, {rows} rows, {sum(self.record.strange.values())} strange answers"
        )
        self.say(
            f"{len(looks)} looks at ledgers, {sum(bool(look.unread) for look in looks)} in which some could not be read"
        )

    async def _put_in_order(self) -> None:
        """Leave the stack as other tests want to find it."""
        self.outcome.watch.is_over = True
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, *self.attempts, *self.watching, return_exceptions=True)
        await self.desk.close()
        for fault in self.outcome.faults:
            if fault.back == float("inf"):
                await self._ctl("start", fault.part)
        await campaign_fleet.remove_all(self.fleet, self.admin)
        self.say("all hosts are removed")
