"""Open campaigns: which host is asked what, when it is asked again, and whose answers count.

Broad campaigns are sets of hosts, 64 at a time, further ones wait for a free place; one more set is the union of those.
Narrow ones are listed per host. So a poll costs two look-ups, however many campaigns there are.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from flotilla_common.contracts.campaigns import OFFER_AGAIN_SECONDS, QUERY_PREFIX, CampaignCommand, Switch
from pyroaring import BitMap

from agent_gateway.domain.hosts import Host
from agent_gateway.domain.offers import KeptOffers, Offers

BROAD_HOSTS = 4096  # more targets than this make a campaign broad
PLACES = 64
BACK_OFF_LIMIT_SECONDS = 900.0
AFTER_END_SECONDS = 3600.0  # answers are still taken for this long after a campaign's end
QUICK_SECONDS = 30.0  # after an offer the host is asked to poll quickly
FIRST_OFFERS = 32  # of a campaign are in its trace
REMEMBERED_SECONDS = 86_400.0  # and still told from answers to campaigns that never were

Verdict = Literal["open", "ended", "late", "foreign", "unknown"]


@dataclass(eq=False)
class Campaign:
    """A verified command with what this gateway has done about it."""

    command: CampaignCommand
    targets: BitMap
    settled: BitMap = field(default_factory=BitMap)
    released: BitMap | None = None  # of a ramped one: targets that may be asked by now
    offers: Offers = field(default_factory=dict)
    kept_offers: KeptOffers | None = None  # of one that has ended, in their place
    pending: BitMap | None = None  # of a broad one that has a place: hosts that are to be asked
    ended_at: float | None = None
    taken: set[int] = field(default_factory=set)  # first offered since the last look, and silent so far
    silent: set[int] = field(default_factory=set)  # those of the look before
    held_since: float = 0.0
    first_offers: int = 0  # that were told of

    @property
    def campaign_id(self) -> int:
        """The campaign's number."""
        return self.command.campaign_id

    @property
    def trace_parent(self) -> str:
        """The W3C `traceparent` of what the campaign causes, as signed; empty when it names none."""
        return f"00-{self.command.trace}-{self.command.span}-01" if self.command.trace and self.command.span else ""

    @property
    def askable(self) -> BitMap:
        """The hosts that are to be asked, and may be by now."""
        return (self.targets if self.released is None else self.released) - self.settled

    def allows(self, host: Host) -> bool:
        """Whether the person who asks may query the team that the host is in now."""
        return self.command.allowed_teams is None or host.team_id in self.command.allowed_teams

    def offer(self, host_id: int, now: float) -> str | None:
        """Return the query's name if the host is to be asked now, and count the attempt."""
        attempts, not_before = self.offers.get(host_id, (0, 0.0))
        if now < not_before:
            return None
        self.offers[host_id] = (attempts + 1, now + wait_after(attempts))
        if not attempts:
            self.taken.add(host_id)
        trace = f"_{self.command.trace}" if self.command.trace else ""
        return f"{QUERY_PREFIX}{self.campaign_id}_{attempts + 1}{trace}"

    def asked_lately(self, host_id: int, now: float) -> bool:
        """Whether the last offer to a host that has not answered is younger than QUICK_SECONDS."""
        attempts, not_before = self.offers.get(host_id, (0, 0.0))
        return attempts > 0 and now - (not_before - wait_after(attempts - 1)) < QUICK_SECONDS


def wait_after(attempts: int) -> float:
    """Return for how many seconds a host is not asked again that was asked once more after so many attempts."""
    # Thirty days make thousands of attempts, and no float has room for 2 ** 1024.
    return min(OFFER_AGAIN_SECONDS * 2.0 ** min(attempts, 10), BACK_OFF_LIMIT_SECONDS)


@dataclass(frozen=True)
class FirstOffer:
    """One of the first hosts that this process offered a campaign's query to. Times are Unix seconds."""

    campaign_id: int
    host_id: int
    trace_parent: str
    held_since: float
    offered_at: float


class Campaigns:
    """All campaigns that this gateway knows. Times are Unix seconds."""

    def __init__(self) -> None:
        self._open: dict[int, Campaign] = {}
        self._ended: dict[int, Campaign] = {}
        self._past: dict[int, float] = {}  # -> end
        self._early_done: dict[int, BitMap] = {}
        self._early_released: dict[int, BitMap] = {}
        self._narrow: dict[int, dict[int, Campaign]] = {}
        self._broad: list[Campaign] = []
        self._asked_broadly = BitMap()  # by any of those; who is asked no more may be in it till the next poll
        self._waiting: deque[Campaign] = deque()
        self._switch = Switch(halted=False, at=0.0)
        self._first_offers: list[FirstOffer] = []

    def __len__(self) -> int:
        return len(self._open)

    def open_ids(self) -> set[int]:
        """Return the campaigns that are open."""
        return set(self._open)

    @property
    def are_halted(self) -> bool:
        """Whether an administrator has stopped all of them: nobody is asked, answers still count."""
        return self._switch.halted

    def turn(self, switch: Switch) -> bool:
        """Halt all, or let them go on; return whether that changes anything. An older word than the last is ignored."""
        if switch.at < self._switch.at:
            return False
        before, self._switch = self._switch, switch
        return before.halted != switch.halted

    def targets_by_hash(self, name: str) -> BitMap | None:
        """Return the targets of an open campaign that are known under this hash."""
        return next((one.targets for one in self._open.values() if one.command.targets_hash == name), None)

    def start(self, command: CampaignCommand, targets: BitMap, now: float) -> None:
        """Hold a command, in the place of an earlier one of the same campaign."""
        earlier = self._open.pop(command.campaign_id, None)
        campaign = Campaign(command, targets, self._early_done.pop(command.campaign_id, BitMap()))
        early = self._early_released.pop(command.campaign_id, BitMap())
        before = earlier or self._ended.get(command.campaign_id)
        if command.ramped:
            known = BitMap() if before is None or before.released is None else before.released
            campaign.released = (known | early) & targets
        campaign.held_since, campaign.first_offers = now, 0 if before is None else before.first_offers
        if earlier is not None:
            self._withdraw(earlier)
            campaign.settled |= earlier.settled
            campaign.offers = earlier.offers
        ended = self._ended.pop(command.campaign_id, None)
        if ended is not None:  # it was paused
            campaign.settled |= ended.settled
            campaign.offers = {} if ended.kept_offers is None else ended.kept_offers.unpack()
            for host_id in campaign.settled & BitMap(campaign.offers):
                del campaign.offers[host_id]
        self._open[command.campaign_id] = campaign
        if command.deadline <= now:
            self.end(command.campaign_id, command.deadline)
        elif len(targets) > BROAD_HOSTS:
            self._waiting.append(campaign)
            self._fill_places()
        else:
            for host_id in campaign.askable:
                self._narrow.setdefault(host_id, {})[campaign.campaign_id] = campaign

    def end(self, campaign_id: int, ended_at: float) -> None:
        """Ask nobody any more; answers that are on their way still count for a while. A paused one starts again."""
        self._early_done.pop(campaign_id, None)
        self._early_released.pop(campaign_id, None)
        self._past[campaign_id] = ended_at
        campaign = self._open.pop(campaign_id, None)
        if campaign is not None:
            campaign.ended_at = ended_at
            self._withdraw(campaign)
            if campaign.offers and ended_at < campaign.command.deadline:
                campaign.kept_offers = KeptOffers(campaign.offers)
            campaign.offers = {}
            self._ended[campaign_id] = campaign

    def settle(self, campaign_id: int, done: BitMap) -> None:
        """Take the set of hosts that live-query has settled."""
        campaign = self._open.get(campaign_id)
        if campaign is None:
            if campaign_id in self._ended:
                self._ended[campaign_id].settled |= done
            elif campaign_id not in self._past:
                self._early_done[campaign_id] = done
            return
        news = (done - campaign.settled) & campaign.targets
        campaign.settled |= done
        if campaign.pending is not None:
            campaign.pending -= news
        for host_id in news if campaign.offers or campaign.pending is None else ():
            self._drop(campaign, host_id)

    def release(self, campaign_id: int, hosts: BitMap) -> None:
        """Take the set of hosts that a ramped campaign may ask by now. What was released stays so."""
        campaign = self._open.get(campaign_id) or self._ended.get(campaign_id)
        if campaign is None:
            if campaign_id not in self._past:
                self._early_released[campaign_id] = hosts
            return
        if campaign.released is None:
            return
        news = (hosts & campaign.targets) - campaign.released
        campaign.released |= news
        news -= campaign.settled
        if campaign.pending is not None:
            campaign.pending |= news
            self._asked_broadly |= news
        elif campaign.ended_at is None and len(campaign.targets) <= BROAD_HOSTS:
            for host_id in news:
                self._narrow.setdefault(host_id, {})[campaign_id] = campaign

    def answered(self, campaign_id: int, host_id: int) -> None:
        """Ask this host no more: its answer is in custody."""
        campaign = self._open.get(campaign_id) or self._ended.get(campaign_id)
        if campaign is not None:
            campaign.settled.add(host_id)
            self._drop(campaign, host_id)

    def verdict(self, campaign_id: int, host_id: int, now: float) -> Verdict:
        """Say whether a host's answer to a campaign is to be taken (`open`, `ended`) or not, and why."""
        campaign = self._open.get(campaign_id) or self._ended.get(campaign_id)
        if campaign is None:
            return "late" if campaign_id in self._past else "unknown"
        if host_id not in campaign.targets:
            return "foreign"
        ended_at = min(campaign.command.deadline, now if campaign.ended_at is None else campaign.ended_at)
        if ended_at >= now:
            return "open"
        return "ended" if now - ended_at <= AFTER_END_SECONDS else "late"

    def trace_parent(self, campaign_id: int) -> str | None:
        """Return the W3C `traceparent` of what a campaign causes; as signed, not as a host says in a query's name."""
        campaign = self._open.get(campaign_id) or self._ended.get(campaign_id)
        return (campaign.trace_parent or None) if campaign is not None else None

    def offered_ms(self, campaign_id: int, host_id: int, attempt: int) -> int:
        """Return when this process made a host this offer, in Unix milliseconds; 0: it did not, or knows no more.

        An attempt of 0 means the last one. Nothing is kept for this: it follows from when the host is asked again.
        """
        campaign = self._open.get(campaign_id)
        found = None if campaign is None else campaign.offers.get(host_id)
        if found is None or attempt not in (0, found[0]):
            return 0
        return int((found[1] - wait_after(found[0] - 1)) * 1000)

    def first_offers(self) -> list[FirstOffer]:
        """Return, once each, the first offers of traced campaigns since the last call: FIRST_OFFERS of one at most."""
        found, self._first_offers = self._first_offers, []
        return found

    def silent_hosts(self) -> dict[int, set[int]]:
        """Return, once each, the hosts that have had a query since the last but one call and did not answer."""
        found: dict[int, set[int]] = {}
        for campaign_id, campaign in self._open.items():
            if campaign.silent:
                found[campaign_id] = campaign.silent
            campaign.silent, campaign.taken = campaign.taken, set()
        return found

    def has_open(self, host_id: int) -> bool:
        """Whether the host may have something to be asked; the usual answer is no."""
        return (host_id in self._narrow or host_id in self._asked_broadly) and not self._switch.halted

    def offers(self, host: Host, now: float) -> tuple[dict[str, str], bool]:
        """Return what to ask the host now (query name -> SQL), and whether it is to come again soon.

        It is while it was asked less than QUICK_SECONDS ago: an answer is near, and more questions may be. A host that
        stays silent goes back to its usual pace, until it is asked again.
        """
        concerned = [campaign for campaign in self._of(host.host_id) if campaign.allows(host)]
        queries: dict[str, str] = {}
        for campaign in concerned:
            if campaign.command.deadline <= now:
                self.end(campaign.campaign_id, campaign.command.deadline)
                continue
            name = campaign.offer(host.host_id, now)
            if name is not None:
                queries[name] = campaign.command.sql
                if campaign.first_offers < FIRST_OFFERS:
                    self._note_first(campaign, host.host_id, now)
        return queries, any(campaign.asked_lately(host.host_id, now) for campaign in concerned)

    def sweep(self, now: float) -> None:
        """End what has passed its deadline, forget what ended long ago; called now and then."""
        for campaign in [one for one in self._open.values() if one.command.deadline <= now]:
            self.end(campaign.campaign_id, campaign.command.deadline)
        for campaign_id, ended_at in list(self._past.items()):
            if now - ended_at > AFTER_END_SECONDS:
                self._ended.pop(campaign_id, None)
            if now - ended_at > REMEMBERED_SECONDS:
                del self._past[campaign_id]

    def _note_first(self, campaign: Campaign, host_id: int, now: float) -> None:
        attempts, _ = campaign.offers[host_id]
        campaign.first_offers += 1
        if campaign.trace_parent and attempts == 1:
            found = FirstOffer(campaign.campaign_id, host_id, campaign.trace_parent, campaign.held_since, now)
            self._first_offers.append(found)

    def _of(self, host_id: int) -> list[Campaign]:
        found = list(self._narrow.get(host_id, {}).values())
        broad = [one for one in self._broad if one.pending is not None and host_id in one.pending]
        if not broad:
            self._asked_broadly.discard(host_id)
        return found + broad

    def _fill_places(self) -> None:
        while self._waiting and len(self._broad) < PLACES:
            campaign = self._waiting.popleft()
            campaign.pending = campaign.askable
            self._broad.append(campaign)
            self._asked_broadly |= campaign.pending

    def _drop(self, campaign: Campaign, host_id: int) -> None:
        campaign.offers.pop(host_id, None)
        campaign.taken.discard(host_id)
        campaign.silent.discard(host_id)
        if campaign.pending is not None:
            campaign.pending.discard(host_id)
        self._unlist(campaign, host_id)

    def _unlist(self, campaign: Campaign, host_id: int) -> None:
        of_host = self._narrow.get(host_id)
        if of_host is not None and of_host.get(campaign.campaign_id) is campaign:
            del of_host[campaign.campaign_id]
            if not of_host:
                del self._narrow[host_id]

    def _withdraw(self, campaign: Campaign) -> None:
        campaign.taken, campaign.silent = set(), set()
        if campaign in self._waiting:
            self._waiting.remove(campaign)
        elif campaign.pending is not None:
            campaign.pending = None
            self._broad.remove(campaign)
            self._asked_broadly = BitMap.union(BitMap(), *(one.pending for one in self._broad if one.pending))
            self._fill_places()
        else:
            for host_id in campaign.targets - campaign.settled:
                self._unlist(campaign, host_id)
