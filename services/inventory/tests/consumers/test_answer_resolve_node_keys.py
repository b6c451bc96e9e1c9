"""Resolve: many keys in one request, records with revisions, and a "no" that is certain."""

import asyncio
import secrets

import pytest
from flotilla_common.contracts.definitions import QueryChangedV1
from flotilla_common.contracts.hosts import DeleteHostsV1, ResolveNodeKeysV1
from flotilla_common.contracts.node_keys import hash_node_key
from flotilla_common.errors import Invalid
from inventory.consumers import answer_resolve_node_keys, on_query_changed
from inventory.consumers.answer_delete_hosts import answer as delete


async def resolve(deps, *hashes: str):
    return await answer_resolve_node_keys.answer(ResolveNodeKeysV1(key_hashes=hashes), deps)


async def test_each_known_key_brings_its_record_and_unknown_ones_nothing(enroll, deps):
    enrolled = [(await enroll(f"A-{number}")).host for number in range(3)]
    unknown = secrets.token_hex(16)

    answer = await resolve(deps, unknown, *(host.node_key_hash for host in enrolled))

    assert sorted(answer.hosts, key=lambda host: host.host_id) == enrolled
    assert answer.revision == max(host.revision for host in enrolled)


async def test_a_thousand_keys_are_one_request_and_more_are_refused(enroll, deps):
    known = (await enroll("A-1")).host
    unknown = [secrets.token_hex(16) for _ in range(999)]

    answer = await resolve(deps, known.node_key_hash, *unknown)

    assert answer.hosts == (known,)
    with pytest.raises(Invalid):
        await resolve(deps, known.node_key_hash, "00" * 16, *unknown)


async def test_the_same_key_twice_is_answered(enroll, deps):
    known = (await enroll("A-1")).host

    answer = await resolve(deps, known.node_key_hash, known.node_key_hash)

    assert set(answer.hosts) == {known}


async def test_no_key_at_all_is_a_way_to_knock(deps):
    answer = await resolve(deps)

    assert answer.hosts == ()


@pytest.mark.parametrize("text", ["zz", "abc", "é" * 32])
async def test_what_is_no_hash_is_refused(deps, text):
    with pytest.raises(Invalid):
        await resolve(deps, text)


async def test_a_key_that_a_second_enroll_replaced_is_unknown(enroll, deps):
    old, new = (await enroll("A-1")).host, (await enroll("A-1")).host

    answer = await resolve(deps, old.node_key_hash, new.node_key_hash)

    assert answer.hosts == (new,)


async def test_the_key_of_a_deleted_host_is_unknown(enroll, deps):
    host = (await enroll("A-1")).host
    await delete(DeleteHostsV1(host_ids=(host.host_id,)), deps)

    assert (await resolve(deps, host.node_key_hash)).hosts == ()


async def test_a_record_read_after_the_scope_changed_is_newer_than_that_change(enroll, deps, definitions, events):
    host = (await enroll("A-1")).host
    label = await definitions.label("Servers")
    query = await definitions.scoped_query(label)
    await on_query_changed.handle(QueryChangedV1(query_id=query, team_id=None), deps)
    [change] = await events("hosts.scope_changed")

    answer = await resolve(deps, host.node_key_hash)

    assert change["scope_labels"] == [label]
    assert answer.revision >= change["revision"] > host.revision
    assert answer.hosts[0].revision >= change["revision"]


async def test_a_gateway_resolves_over_the_bus_while_hosts_enroll(running, enroll, gateway):
    async def enrolled_and_resolved(number: int) -> bool:
        answer = await enroll(f"A-{number}")
        wanted = hash_node_key(answer.node_key.get_secret_value()).hex()
        return (await gateway.request(ResolveNodeKeysV1(key_hashes=(wanted,)))).hosts == (answer.host,)

    assert all(await asyncio.gather(*(enrolled_and_resolved(number) for number in range(20))))
