"""Transfer and delete: what changes, what is told, and what a repeat does."""

import asyncio

import pytest
from flotilla_common.contracts.definitions import TeamChangedV1
from flotilla_common.contracts.hosts import DeleteHostsV1, RefetchHostV1, TransferHostsV1
from flotilla_common.db.models.admin_api import Team
from flotilla_common.db.models.inventory import Host, HostSeen, LabelMembership
from flotilla_common.errors import NotFound
from inventory.consumers import answer_delete_hosts, answer_refetch_host, answer_transfer_hosts, on_team_changed
from sqlalchemy import delete, update
from sqlmodel import col


async def transfer(deps, team_id, *host_ids: int) -> int:
    return (await answer_transfer_hosts.answer(TransferHostsV1(host_ids=host_ids, team_id=team_id), deps)).count


async def remove(deps, *host_ids: int) -> int:
    return (await answer_delete_hosts.answer(DeleteHostsV1(host_ids=host_ids), deps)).count


async def teams_of(database) -> dict[str, int | None]:
    return {host.host_identifier: host.team_id for host in await database.rows(Host)}


async def test_hosts_move_to_a_team_and_back_and_each_move_is_told(enroll, deps, definitions, database, events):
    team = await definitions.team("Servers")
    first, second, _ = [(await enroll(f"A-{number}")).host for number in (1, 2, 3)]

    moved = await transfer(deps, team, first.host_id, second.host_id)

    assert moved == 2
    assert await teams_of(database) == {"A-1": team, "A-2": team, "A-3": None}
    told = await events("hosts.changed")
    assert [(event["host"]["host_id"], event["host"]["team_id"]) for event in told] == [
        (first.host_id, team),
        (second.host_id, team),
    ]
    assert all(event["host"]["revision"] > second.revision for event in told)
    assert await transfer(deps, None, first.host_id) == 1
    assert (await teams_of(database))["A-1"] is None


async def test_a_repeated_transfer_moves_nobody_and_tells_nothing(enroll, deps, definitions, events):
    team = await definitions.team("Servers")
    host = (await enroll("A-1")).host
    await transfer(deps, team, host.host_id)

    assert await transfer(deps, team, host.host_id) == 0
    assert len(await events("hosts.changed")) == 1


async def test_a_transfer_to_a_team_that_does_not_exist_is_refused(enroll, deps, database):
    host = (await enroll("A-1")).host

    with pytest.raises(NotFound):
        await transfer(deps, 999, host.host_id)
    assert await teams_of(database) == {"A-1": None}


async def test_hosts_that_do_not_exist_are_passed_over(enroll, deps, definitions):
    team = await definitions.team("Servers")
    host = (await enroll("A-1")).host

    assert await transfer(deps, team, host.host_id, 12345) == 1
    assert await remove(deps, 12345) == 0


async def test_transfers_of_the_same_hosts_at_once_leave_them_where_the_newest_event_says(
    enroll, deps, definitions, database, events
):
    teams = [await definitions.team(name) for name in ("A", "B", "C", "D")]
    ids = [(await enroll(f"A-{number}")).host.host_id for number in range(6)]

    await asyncio.gather(*(transfer(deps, team, *ids) for team in teams for _ in range(2)))

    newest: dict[int, dict] = {}
    for event in await events("hosts.changed"):
        record = event["host"]
        if record["revision"] > newest.get(record["host_id"], {"revision": 0})["revision"]:
            newest[record["host_id"]] = record
    assert {host.id: host.team_id for host in await database.rows(Host)} == {
        host_id: record["team_id"] for host_id, record in newest.items()
    }


async def test_a_deleted_host_is_gone_with_all_that_depends_on_it_and_its_key_is_told(enroll, deps, database, events):
    gone, stays = (await enroll("A-1")).host, (await enroll("A-2")).host

    assert await remove(deps, gone.host_id) == 1

    assert [host.id for host in await database.rows(Host)] == [stays.host_id]
    assert {row.host_id for row in await database.rows(HostSeen)} == {stays.host_id}
    assert {row.host_id for row in await database.rows(LabelMembership)} == {stays.host_id}
    [told] = await events("hosts.deleted")
    assert told["host"]["node_key_hash"] == gone.node_key_hash
    assert told["host"]["revision"] > gone.revision


async def test_a_repeated_deletion_finds_nobody_and_tells_nothing(enroll, deps, events):
    host = (await enroll("A-1")).host
    await remove(deps, host.host_id)

    assert await remove(deps, host.host_id) == 0
    assert len(await events("hosts.deleted")) == 1


async def test_a_deleted_host_that_enrolls_again_is_a_new_host(enroll, deps):
    before = (await enroll("A-1")).host
    await remove(deps, before.host_id)

    after = (await enroll("A-1")).host

    assert after.host_id != before.host_id


async def test_a_host_deleted_and_enrolled_at_once_is_as_its_newest_event_says(enroll, deps, database, events):
    for _ in range(5):
        host = (await enroll("A-1")).host
        await asyncio.gather(remove(deps, host.host_id), *(enroll("a-1") for _ in range(3)))

        told = sorted(await events(), key=lambda event: event["host"]["revision"])
        newest = {event["host"]["host_id"]: event for event in told}
        kept = {row.id: row.node_key_hash.hex() for row in await database.rows(Host) if row.node_key_hash is not None}
        assert kept == {
            host_id: event["host"]["node_key_hash"]
            for host_id, event in newest.items()
            if event["subject"] == "hosts.enrolled.v1"
        }


async def test_the_hosts_of_a_deleted_team_belong_to_no_team(enroll, deps, definitions, database, events):
    team, other = await definitions.team("Servers"), await definitions.team("Laptops")
    hosts = [(await enroll(f"A-{number}")).host.host_id for number in range(4)]
    await transfer(deps, team, *hosts[:3])
    await transfer(deps, other, hosts[3])
    async with database.sessions().begin() as session:
        await session.execute(delete(Team).where(col(Team.id) == team))
    told_before = len(await events("hosts.changed"))

    for _ in range(2):
        await on_team_changed.handle(TeamChangedV1(team_id=team, deleted=True), deps)

    assert await teams_of(database) == {"A-0": None, "A-1": None, "A-2": None, "A-3": other}
    assert len(await events("hosts.changed")) == told_before + 3


async def test_a_refetch_marks_the_host(enroll, deps, database):
    host = (await enroll("A-1")).host
    async with database.sessions().begin() as session:
        await session.execute(update(Host).values(refetch_requested=False))

    counts = [
        (await answer_refetch_host.answer(RefetchHostV1(host_id=host_id), deps)).count
        for host_id in (host.host_id, 9999)
    ]

    assert counts == [1, 0]
    assert [row.refetch_requested for row in await database.rows(Host)] == [True]


async def test_admin_transfers_and_deletes_over_the_bus(running, enroll, definitions, admin):
    team = await definitions.team("Servers")
    host = (await enroll("A-1")).host

    moved = await admin.request(TransferHostsV1(host_ids=(host.host_id,), team_id=team))
    removed = await admin.request(DeleteHostsV1(host_ids=(host.host_id,)))

    assert (moved.count, removed.count) == (1, 1)
