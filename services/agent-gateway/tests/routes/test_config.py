"""POST config."""

from __future__ import annotations

import asyncio
import json

import pytest
from flotilla_common.contracts.plans import RenderPlanV1, class_key
from flotilla_common.testing import eventually

from ..conftest import BOTH_ROADS, House

pytestmark = BOTH_ROADS

UBUNTU = RenderPlanV1(team_id=None, platform="ubuntu")


async def config(house: House, key: str, **members: object) -> bytes:
    return (await house.post("config", {"node_key": key, **members})).content


async def test_a_host_gets_the_exact_bytes_of_its_class(house: House) -> None:
    key = house.inventory.add_host()

    assert await config(house, key) == house.merger.body


async def test_the_first_hosts_of_a_class_have_it_rendered_once(house: House) -> None:
    keys = [house.inventory.add_host(number) for number in range(1, 21)]

    replies = await asyncio.gather(*(config(house, key) for key in keys))

    assert set(replies) == {house.merger.body}
    assert len(house.merger.renders) == 1


async def test_a_plan_in_the_bucket_is_not_rendered_again(house: House) -> None:
    await house.merger.save(UBUNTU, b'{"schedule":{}}')
    key = house.inventory.add_host()

    assert await eventually(lambda: config_is(house, key, b'{"schedule":{}}'))
    assert house.merger.renders == []


async def test_an_unchanged_config_touches_nothing_but_memory(house: House) -> None:
    key = house.inventory.add_host()
    await config(house, key)
    before = dict(house.gateway.counters.backend_operations)

    for _ in range(10):
        await config(house, key)

    assert house.gateway.counters.backend_operations == before


async def config_is(house: House, key: str, body: bytes) -> bool:
    return await config(house, key) == body


async def test_an_edit_is_in_the_answer_within_a_second(house: House) -> None:
    key = house.inventory.add_host()
    await config(house, key)

    await house.merger.save(UBUNTU, b'{"options":{"edited":true}}')

    assert await eventually(lambda: config_is(house, key, b'{"options":{"edited":true}}'), timeout=1.0)


async def test_another_team_gets_another_config(house: House) -> None:
    await house.merger.save(RenderPlanV1(team_id=7, platform="ubuntu"), b'{"team":7}')
    key = house.inventory.add_host(1, team_id=7)

    assert await eventually(lambda: config_is(house, key, b'{"team":7}'))


async def test_a_known_class_is_served_while_the_merger_is_down(house: House) -> None:
    key = house.inventory.add_host()
    await config(house, key)
    house.merger.down = True

    assert await config(house, key) == house.merger.body


async def test_a_new_class_gets_an_error_while_the_merger_is_down(house: House) -> None:
    house.merger.down = True
    key = house.inventory.add_host()

    reply = await house.post("config", {"node_key": key})

    assert reply.status_code == 503
    assert reply.json() == {"error": "unavailable"}


async def test_a_config_that_osqueryd_would_choke_on_is_not_served(house: House) -> None:
    house.merger.body = json.dumps({"big": "x" * (4 * 1024 * 1024)}).encode()
    key = house.inventory.add_host()

    assert (await house.post("config", {"node_key": key})).json() == {"error": "unavailable"}


async def test_a_client_that_sends_etag_gets_one(house: House) -> None:
    key = house.inventory.add_host()

    reply = json.loads(await config(house, key, etag=""))

    assert reply.pop("etag")
    assert reply == json.loads(house.merger.body)


async def test_an_unchanged_etag_is_answered_with_13_bytes(house: House) -> None:
    key = house.inventory.add_host()
    etag = json.loads(await config(house, key, etag=""))["etag"]

    assert await config(house, key, etag=etag) == b'{"etag":"ok"}'


async def test_a_client_that_sends_no_etag_gets_none(house: House) -> None:
    key = house.inventory.add_host()

    assert b"etag" not in await config(house, key)


async def test_with_etags_switched_off_all_get_the_whole_config_byte_for_byte(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a host that has one of before, whether a gateway beside this one still gives them or not."""
    key = house.inventory.add_host()
    etag = json.loads(await config(house, key, etag=""))["etag"]
    house.gateway.plans.drop(class_key(None, "ubuntu", ()))
    monkeypatch.setattr(house.gateway.plans, "_uses_etag", False)

    found = [await config(house, key, etag=sent) for sent in (etag, "", "ok", None, etag)]

    assert found == [house.merger.body] * 5
