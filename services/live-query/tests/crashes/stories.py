"""What campaigns go through, each from its start to its end: all that live-query does with one, on small fleets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from flotilla_common.contracts.campaigns import SWITCH_KEY, Budget, answers_subject, done_key
from flotilla_common.contracts.carves import SUBJECT as CARVES_SUBJECT
from flotilla_common.contracts.definitions import AppConfigChangedV1
from flotilla_common.errors import Conflict
from flotilla_common.testing import eventually
from live_query.domain.signing import switch_in

from ..carving import SQL, Carving, begin, cut, part_of, query_name
from .world import PATIENCE_SECONDS, Told, World

SOON_SECONDS = 1.5
ANSWERED, EXPIRED, CANCELLED, UNREACHABLE = ("answered",), ("expired",), ("cancelled",), ("unreachable",)


async def all_answer(world: World) -> Told:
    """One answers, one fails, one is denylisted, one answers twice; a stranger answers, too."""
    one, failing, denied, twice, stranger = await world.fleet.hosts(5)
    number = await world.start([one, failing, denied, twice])
    await world.answer(number, stranger)
    await world.offered(number, one, failing)
    await world.answer(number, one, twice)
    await world.answer(number, failing, status=1, message="no such table")
    await world.answer(number, denied, status=1, message="distributed query is denylisted")
    await world.answer(number, twice)
    states = {one: ANSWERED, failing: ("failed",), denied: ("denylisted",), twice: ANSWERED}
    return Told(number, states, "complete")


async def expires(world: World) -> Told:
    """A synchronous one: one host answers in time, one is silent."""
    one, silent = await world.fleet.hosts(2)
    number = await world.start([one, silent], kind="synchronous", wait_seconds=SOON_SECONDS)
    await world.offered(number, silent)
    await world.answer(number, one)
    states = await world.in_time(number)
    await world.until("SELECT now() > deadline FROM live_query.campaigns WHERE id = :number", number=number)
    await world.answer(number, silent)  # late
    return Told(number, {one: states, silent: EXPIRED}, "deadline")


async def nobody_comes(world: World) -> Told:
    """A durable one that nobody answers."""
    hosts = await world.fleet.hosts(3)
    number = await world.start(hosts, seconds=SOON_SECONDS)
    return Told(number, dict.fromkeys(hosts, EXPIRED), "deadline")


async def paused_to_its_end(world: World) -> Told:
    """Somebody pauses it and never lets it go on."""
    one, waiting = await world.fleet.hosts(2)
    number = await world.start([one, waiting], seconds=SOON_SECONDS)
    await world.answer(number, one)
    states = await world.in_time(number)
    with contextlib.suppress(Conflict):  # its end was sooner than somebody who lives long enough to pause it
        await world.pause(number)
    return Told(number, {one: states, waiting: EXPIRED}, "deadline")


async def over_budget(world: World) -> Told:
    """An answer pauses it; somebody lets it go on with a higher limit."""
    hosts = await world.fleet.hosts(3)
    number = await world.start(hosts, budget=Budget(max_rows=3))
    await world.answer(number, hosts[0], rows=5)
    await world.until("SELECT paused_at IS NOT NULL FROM live_query.campaigns WHERE id = :number", number=number)
    await world.pause(number, paused=False, budget=Budget(max_rows=100))
    await world.answer(number, *hosts[1:])
    return Told(number, dict.fromkeys(hosts, ANSWERED), "complete", overruns=1)


async def stopped(world: World) -> Told:
    """Somebody stops it."""
    one, *others = await world.fleet.hosts(3)
    number = await world.start([one, *others])
    await world.answer(number, one)
    await world.stop(number)
    return Told(number, {one: ANSWERED} | dict.fromkeys(others, CANCELLED), "enough")


async def ramped(world: World) -> Told:
    """It asks two hosts at a time."""
    hosts = await world.online_hosts(4)
    number = await world.start(hosts, budget=Budget(hosts_at_a_time=2))
    for host_id in hosts:
        await world.until_released(number, host_id)
        await world.answer(number, host_id)
    return Told(number, dict.fromkeys(hosts, ANSWERED), "complete")


async def hosts_go(world: World) -> Told:
    """One host is deleted, another one without a word."""
    one, deleted, vanished = await world.fleet.hosts(3)
    number = await world.start([one, deleted, vanished])
    await world.inventory.delete(deleted)
    await world.fleet.remove(vanished)
    await world.answer(number, one)
    return Told(number, {one: ANSWERED, deleted: UNREACHABLE, vanished: UNREACHABLE}, "complete")


async def large_sets(world: World) -> Told:
    """So many hosts that targets, released and settled ones are in the object store."""
    hosts = (await world.online_hosts(48))[::2]  # a run of ids takes a few bytes
    number = await world.start(hosts, budget=Budget(hosts_at_a_time=22))
    await world.until_released(number, *hosts[:22])
    await world.answer(number, *hosts[:22])

    async def are_told() -> bool:
        return bool(await world.looking.bucket.get(done_key(number)))

    await eventually(are_told, timeout=PATIENCE_SECONDS)
    await world.until_released(number, *hosts)
    await world.answer(number, *hosts[22:])
    return Told(number, dict.fromkeys(hosts, ANSWERED), "complete")


async def many_rows(world: World) -> Told:
    """More than stays in Redis: its first answers are archived while it runs."""
    *hosts, last = await world.fleet.hosts(6)
    number = await world.start([*hosts, last])
    await world.answer(number, *hosts, rows=300, size=1000)
    await world.until(
        "SELECT EXISTS (SELECT FROM live_query.campaign_segments WHERE campaign_id = :number)", number=number
    )
    await world.answer(number, hosts[0], last)
    return Told(number, dict.fromkeys([*hosts, last], ANSWERED), "complete")


async def watched(world: World) -> Told:
    """Somebody watches it for a while."""
    one, silent = await world.fleet.hosts(2)
    number = await world.start([one, silent], kind="viewer")
    await world.answer(number, one)
    states = await world.in_time(number)
    for _ in range(3):
        await world.viewed(number)
        await asyncio.sleep(0.2)  # a viewer speaks by the clock
    return Told(number, {one: states, silent: EXPIRED}, "deadline")


async def carved(world: World) -> Told:
    """A host sends a file; later its contents expire."""
    [host_id] = await world.fleet.hosts(1)
    number = await world.start([host_id], sql=SQL)
    await world.ask(lambda: begin(host_id, query_name(number)), world.gateway.bus)
    [carve] = await world.all("SELECT id FROM live_query.carves WHERE campaign_id = :number", number=number)
    contents = bytes(range(250))
    parts = [part_of(carve.id, host_id, block_id, block) for block_id, block in enumerate(cut(contents))]
    await Carving(world.gateway.bus, world.inventory.fleet.database).send(*parts, parts[0])
    await world.answer(number, host_id)
    await world.until("SELECT completed_at IS NOT NULL FROM live_query.carves WHERE id = :id", id=carve.id)
    found = await world.one("SELECT * FROM live_query.carves WHERE id = :id", id=carve.id)
    assert (found.blocks_stored, found.bytes_stored, found.error) == (3, 250, None)
    for hours in (48, 4):  # its contents expire, and an hour later they are looked for once more
        await world.change(
            "UPDATE live_query.carves SET expires_at = expires_at - make_interval(hours => :hours),"
            " expired_at = expired_at - make_interval(hours => :hours) WHERE id = :id",
            id=carve.id,
            hours=hours,
        )
        least = 1 if hours == 48 else 2
        await world.until("SELECT sweeps >= :least FROM live_query.carves WHERE id = :id", id=carve.id, least=least)
    return Told(number, {host_id: ANSWERED}, "complete")


async def turn_all_off_and_on(world: World) -> None:
    """An administrator halts all campaigns, and lets them go on."""
    for halted in (True, False):
        await world.change(
            "INSERT INTO admin_api.app_config (id, document) VALUES (1, jsonb_build_object('server_settings',"
            " jsonb_build_object('live_query_disabled', CAST(:halted AS boolean))))"
            " ON CONFLICT (id) DO UPDATE SET document = excluded.document",
            halted=halted,
        )
        await world.admin.publish(AppConfigChangedV1())

        async def is_told(wanted: bool = halted) -> bool:
            value = await world.looking.bucket.get(SWITCH_KEY)
            found = None if value is None else switch_in(value, world.looking.signing_key.public_key())
            return found is not None and found.halted == wanted

        await eventually(is_told, timeout=PATIENCE_SECONDS)


async def garbage_comes(world: World) -> None:
    """What is no answer and no part of a carve is buried."""
    for subject in (answers_subject(0), CARVES_SUBJECT):
        await world.gateway.bus.js.publish(subject, b"\xff no message of a gateway")
        world.dead += 1


Story = Callable[[World], Awaitable[Told | None]]
STORIES: tuple[Story, ...] = (
    all_answer,
    expires,
    nobody_comes,
    paused_to_its_end,
    over_budget,
    stopped,
    ramped,
    hosts_go,
    large_sets,
    many_rows,
    watched,
    carved,
)
