"""Members of manual labels, and the scope: which labels are part of a host's class."""

import pytest
from flotilla_common.contracts.definitions import AgentOptionsChangedV1, LabelChangedV1, QueryChangedV1
from flotilla_common.contracts.hosts import ChangeLabelMembersV1, ResolveNodeKeysV1
from flotilla_common.contracts.labels import ALL_HOSTS
from flotilla_common.db.models.admin_api import AppConfig, Label, Query, QueryLabel, Team
from flotilla_common.db.models.inventory import LabelMembership, ScopeLabel
from flotilla_common.errors import Invalid, NotFound
from inventory.consumers import (
    answer_change_label_members,
    answer_resolve_node_keys,
    on_agent_options_changed,
    on_label_changed,
    on_query_changed,
)
from sqlalchemy import delete, update
from sqlmodel import col


async def change(deps, label_id: int, **members: object) -> int:
    request = ChangeLabelMembersV1(label_id=label_id, **members)
    return (await answer_change_label_members.answer(request, deps)).count


async def members_of(database, label_id: int) -> set[int]:
    return {row.host_id for row in await database.rows(LabelMembership) if row.label_id == label_id}


async def scope_labels_of(deps, *hosts) -> list[tuple[int, ...]]:
    request = ResolveNodeKeysV1(key_hashes=tuple(host.node_key_hash for host in hosts))
    found = {host.host_id: host for host in (await answer_resolve_node_keys.answer(request, deps)).hosts}
    return [found[host.host_id].scope_labels for host in hosts]


async def query_changed(deps, query_id: int) -> None:
    await on_query_changed.handle(QueryChangedV1(query_id=query_id, team_id=None), deps)


@pytest.fixture
async def hosts(enroll):
    return [(await enroll(f"A-{number}")).host for number in range(3)]


@pytest.fixture
async def label(definitions):
    return await definitions.label("Servers")


async def test_members_are_replaced_added_and_removed(deps, database, hosts, label):
    first, second, third = (host.host_id for host in hosts)

    assert await change(deps, label, replace=(first, second)) == 2
    assert await members_of(database, label) == {first, second}
    assert await change(deps, label, add=(third, first), remove=(second,)) == 2
    assert await members_of(database, label) == {first, third}
    assert await change(deps, label, replace=()) == 2
    assert await members_of(database, label) == set()


async def test_a_repeat_changes_nothing(deps, hosts, label):
    wanted = (hosts[0].host_id,)

    assert [await change(deps, label, replace=wanted) for _ in range(2)] == [1, 0]


async def test_hosts_that_do_not_exist_are_passed_over(deps, database, hosts, label):
    assert await change(deps, label, add=(hosts[0].host_id, 9999)) == 1
    assert await members_of(database, label) == {hosts[0].host_id}


async def test_a_label_that_does_not_exist_is_refused(deps):
    with pytest.raises(NotFound):
        await change(deps, 999, add=(1,))


async def test_nobody_is_put_into_dynamic_or_built_in_labels_by_hand(deps, definitions, hosts):
    dynamic = await definitions.label("Told by a query", "dynamic")

    for label_id in (dynamic, ALL_HOSTS):
        with pytest.raises(Invalid):
            await change(deps, label_id, add=(hosts[0].host_id,))


async def test_a_label_outside_the_scope_changes_no_record(deps, hosts, label, events):
    await change(deps, label, add=(hosts[0].host_id,))

    assert await events("hosts.changed") == []
    assert await scope_labels_of(deps, hosts[0]) == [()]


async def test_a_label_that_scopes_a_query_is_part_of_its_hosts_records(deps, hosts, label, definitions, events):
    await change(deps, label, add=(hosts[0].host_id,))

    await query_changed(deps, await definitions.scoped_query(label))

    assert await scope_labels_of(deps, hosts[0], hosts[1]) == [(label,), ()]
    [told] = await events("hosts.scope_changed")
    assert told["scope_labels"] == [label]


async def test_who_enters_a_label_of_the_scope_is_told_of(deps, hosts, label, definitions, events):
    await query_changed(deps, await definitions.scoped_query(label))

    await change(deps, label, add=(hosts[1].host_id,))

    [told] = await events("hosts.changed")
    assert (told["host"]["host_id"], told["host"]["scope_labels"]) == (hosts[1].host_id, [label])
    assert told["host"]["revision"] > (await events("hosts.scope_changed"))[0]["revision"]


async def test_a_built_in_label_can_scope_too(deps, hosts, definitions, enroll):
    await query_changed(deps, await definitions.scoped_query(ALL_HOSTS))

    later = (await enroll("late")).host

    assert later.scope_labels == (ALL_HOSTS,)
    assert await scope_labels_of(deps, hosts[0]) == [(ALL_HOSTS,)]


async def test_the_same_scope_again_is_no_change(deps, hosts, label, definitions, events):
    query = await definitions.scoped_query(label)

    await query_changed(deps, query)
    await query_changed(deps, query)
    await definitions.scoped_query(label, interval=120)
    await query_changed(deps, query + 1)

    assert len(await events("hosts.scope_changed")) == 1


async def test_a_query_without_interval_scopes_nothing(deps, label, definitions, events):
    await query_changed(deps, await definitions.scoped_query(label, interval=0))

    assert await events("hosts.scope_changed") == []


async def test_a_query_that_is_gone_takes_its_label_out_of_the_scope(deps, hosts, label, definitions, database, events):
    await change(deps, label, add=(hosts[0].host_id,))
    query = await definitions.scoped_query(label)
    await query_changed(deps, query)
    async with database.sessions().begin() as session:
        await session.execute(update(Query).where(col(Query.id) == query).values(interval_seconds=0))

    await query_changed(deps, query)

    assert await scope_labels_of(deps, hosts[0]) == [()]
    assert [event["scope_labels"] for event in await events("hosts.scope_changed")] == [[label], []]


async def test_a_deleted_label_has_no_members_and_scopes_nothing(deps, hosts, label, definitions, database):
    await change(deps, label, add=(hosts[0].host_id,))
    await query_changed(deps, await definitions.scoped_query(label))
    async with database.sessions().begin() as session:
        await session.execute(delete(QueryLabel).where(col(QueryLabel.label_id) == label))
        await session.execute(delete(Label).where(col(Label.id) == label))

    for _ in range(2):
        await on_label_changed.handle(LabelChangedV1(label_id=label, deleted=True), deps)

    assert await members_of(database, label) == set()
    assert await scope_labels_of(deps, hosts[0]) == [()]


async def test_members_change_and_scope_changes_arrive_over_the_bus(running, hosts, label, definitions, admin, deps):
    from flotilla_common.testing import eventually  # noqa: PLC0415

    query = await definitions.scoped_query(label)
    await admin.request(ChangeLabelMembersV1(label_id=label, add=(hosts[0].host_id,)))
    await admin.publish(QueryChangedV1(query_id=query, team_id=None))

    async def is_in_the_record() -> bool:
        return await scope_labels_of(deps, hosts[0]) == [(label,)]

    assert await eventually(is_in_the_record)


async def test_labels_of_extensions_are_part_of_the_scope_whatever_else_is_in_the_options(deps, database, definitions):
    ids = [await definitions.label(name) for name in ("Servers", "Berlin", "Unused", "config")]

    def scoped_by(*labels):
        return {"extensions": {"one": {"platform": "linux", "labels": list(labels)}, "two": {}}}

    odd = [{"extensions": {"a": {"labels": value}}} for value in (None, {}, 5, [5, None, [], {"Unused": "Unused"}])]
    documents = [scoped_by("Servers"), {"extensions": []}, {"config": {"labels": ["Unused"]}}, None, *odd]
    await database.add(*(Team(name=f"t{number}", agent_options=one) for number, one in enumerate(documents)))
    await database.add(AppConfig(agent_options=scoped_by("Berlin", "no such label"), document={}))

    for _ in range(2):
        await on_agent_options_changed.handle(AgentOptionsChangedV1(team_id=None), deps)

    assert {row.label_id for row in await database.rows(ScopeLabel)} == set(ids[:2])
