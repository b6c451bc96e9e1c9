"""The thousand hosts of a fault run: enrolled, living, moved to another team, deleted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from flotilla_common.testing.waiting import eventually

from .campaign_hosts import CampaignHost, Record
from .doors import Gateway, NoAnswer
from .people import Person

HOSTS = 1000
PATIENT, MOVED, DELETED, UNASKED, HUGE = 10, 10, 10, 30, 1  # of them
ENROLL_AT_ONCE = 64
DELETE_AT_ONCE = 200
REST_SECONDS = 60.0
MOVED_INTERVAL = 77
MOVED_OPTIONS = {"config": {"options": {"distributed_interval": MOVED_INTERVAL}}}


@dataclass
class Fleet:
    """Hosts by their kinds. Patient ones stay at the last gateway, unasked ones are no targets of anything."""

    record: Record
    gateways: list[Gateway]
    patient: list[CampaignHost] = field(default_factory=list)
    moved: list[CampaignHost] = field(default_factory=list)
    deleted: list[CampaignHost] = field(default_factory=list)
    unasked: list[CampaignHost] = field(default_factory=list)
    others: list[CampaignHost] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)
    team_id: int = 0
    other_team_id: int = 0

    @property
    def all(self) -> list[CampaignHost]:
        """Every host that ever was."""
        return [*self.patient, *self.moved, *self.deleted, *self.unasked, *self.others]

    @property
    def names(self) -> dict[int, str]:
        """Host id -> identifier, of every host that ever was."""
        return {host_id: name for name, host_id in self.ids.items()}


def fleet_of(record: Record, gateways: list[Gateway]) -> Fleet:
    """Return hosts that have not enrolled."""
    made = [
        CampaignHost(f"storm-{record.seed}-{number}", gateways, number % len(gateways), record)
        for number in range(HOSTS - PATIENT)
    ]
    patient = [
        CampaignHost(f"storm-{record.seed}-patient-{number}", gateways, len(gateways) - 1, record, loyal=True)
        for number in range(PATIENT)
    ]
    for host in made[-HUGE:]:
        host.has_huge_answers = True
    moved, made = made[:MOVED], made[MOVED:]
    deleted, made = made[:DELETED], made[DELETED:]
    unasked, others = made[:UNASKED], made[UNASKED:]
    for host in [*moved, *deleted[::2]]:
        host.awake.clear()
    return Fleet(record, gateways, patient, moved, deleted, unasked, others)


async def enroll(hosts: Sequence[CampaignHost], secret: str) -> None:
    """Enroll them, some at a time; who is refused for a moment tries again, as osqueryd does."""
    slots = asyncio.Semaphore(ENROLL_AT_ONCE)

    async def one(host: CampaignHost) -> None:
        async with slots:
            while not host.node_key:
                try:
                    await host.enroll(secret)
                except (NoAnswer, KeyError):
                    await asyncio.sleep(0.5)

    await asyncio.gather(*map(one, hosts))


async def note_ids(fleet: Fleet, admin: Person, number: int) -> None:
    """Look up the host ids of the fleet's team, once there are so many."""

    async def all_here() -> dict[str, int]:
        found = {host["hostname"]: host["id"] for host in await admin.hosts(team_id=fleet.team_id)}
        assert len(found) == number, f"{len(found)} hosts"
        return found

    fleet.ids |= await eventually(all_here, timeout=60)


async def put_to_sleep(hosts: Collection[CampaignHost]) -> None:
    """Let hosts finish what they do, and then do nothing."""
    for host in hosts:
        host.awake.clear()
    await eventually(lambda: all(host.is_resting or is_gone(host) for host in hosts), timeout=REST_SECONDS)


def wake(hosts: Collection[CampaignHost]) -> None:
    """Let hosts poll again."""
    for host in hosts:
        host.awake.set()


def is_gone(host: CampaignHost) -> bool:
    """Whether it was told that it is no host any more."""
    return host.identifier in host.record.invalid


async def transfer(fleet: Fleet, admin: Person, hosts: Sequence[CampaignHost], *, away: bool) -> float:
    """Move sleeping hosts to the other team or back; return when, once every gateway goes by it."""
    began = time.time()
    team_id = fleet.other_team_id if away else fleet.team_id
    ids = [fleet.ids[host.identifier] for host in hosts]
    await admin.call("POST", "/hosts/transfer", {"team_id": team_id, "hosts": ids})

    async def known(host: CampaignHost) -> bool:
        try:
            configs = [await host.config(gateway) for gateway in fleet.gateways]
        except NoAnswer:
            return False  # the gateway had closed a connection that was idle for long
        intervals = [config.get("options", {}).get("distributed_interval") for config in configs]
        return [interval == MOVED_INTERVAL for interval in intervals] == [away] * len(intervals)

    for host in hosts:
        await eventually(lambda host=host: known(host), timeout=30)
    return began


async def delete(fleet: Fleet, admin: Person, hosts: Sequence[CampaignHost]) -> None:
    """Delete hosts, wake them, and wait until each has been told."""
    ids = [fleet.ids[host.identifier] for host in hosts]
    await admin.call("POST", "/hosts/delete", {"ids": ids})
    wake(hosts)
    await eventually(lambda: all(map(is_gone, hosts)), timeout=30)


async def remove_all(fleet: Fleet, admin: Person) -> None:
    """Leave no host behind for other tests."""
    ids = [fleet.ids[host.identifier] for host in fleet.all if host.identifier in fleet.ids and not is_gone(host)]
    for start in range(0, len(ids), DELETE_AT_ONCE):
        await admin.call("POST", "/hosts/delete", {"ids": ids[start : start + DELETE_AT_ONCE]})
