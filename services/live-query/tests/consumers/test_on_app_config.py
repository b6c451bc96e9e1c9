"""An administrator turns live queries off: gateways are told, whatever happens in between."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flotilla_common.contracts.campaigns import SWITCH_KEY, PauseCampaignV1, Switch, command_key
from flotilla_common.db.models.admin_api import AppConfig
from flotilla_common.db.models.live_query import Campaign
from flotilla_common.errors import Denied, Unavailable
from flotilla_common.testing import eventually
from live_query.consumers import housekeeping
from live_query.consumers.housekeeping import Keeper
from live_query.consumers.on_app_config import keep_switch
from live_query.domain.signing import sign_switch, switch_in


@pytest.fixture
def word(deps):
    """What gateways are told: halted or not; None when they are told nothing that live-query has signed."""

    async def read() -> bool | None:
        value = await deps.bucket.get(SWITCH_KEY)
        found = None if value is None else switch_in(value, deps.signing_key.public_key())
        return None if found is None else found.halted

    return read


async def test_gateways_are_told_when_it_changes(deps, running, disable, word):
    async with running(deps):
        await disable(True)
        await eventually(lambda: halted_is(word, True))
        first = switch_in(await deps.bucket.get(SWITCH_KEY), deps.signing_key.public_key())
        await disable(False)
        await eventually(lambda: halted_is(word, False))
        second = switch_in(await deps.bucket.get(SWITCH_KEY), deps.signing_key.public_key())

    assert second.at > first.at


async def halted_is(word, wanted: bool) -> bool:
    return await word() is wanted


async def test_what_was_missed_is_made_up_for_by_housekeeping(deps, running, disable, word, monkeypatch):
    monkeypatch.setattr(housekeeping, "REPAIR_SECONDS", 0.2)
    await disable(True, quietly=True)
    async with running(deps):
        await eventually(lambda: halted_is(word, True))
        forged = sign_switch(Switch(halted=False, at=9e9), Ed25519PrivateKey.generate())
        await deps.bucket.put(SWITCH_KEY, forged)
        await eventually(lambda: halted_is(word, True))
        await deps.bucket.delete(SWITCH_KEY)
        await eventually(lambda: halted_is(word, True))


async def test_nothing_is_said_while_nobody_has_turned_it(deps, disable):
    await keep_switch(deps)
    without_config = await deps.bucket.keys()
    for value in (False, None, "true-ish"):
        await disable(value, quietly=True)
        await keep_switch(deps)

    assert without_config == await deps.bucket.keys() == []


async def test_the_same_word_is_not_said_twice(deps, disable):
    await disable(True, quietly=True)
    await keep_switch(deps)
    before = await deps.bucket.get(SWITCH_KEY)
    await keep_switch(deps)

    assert await deps.bucket.get(SWITCH_KEY) == before


async def test_the_rest_of_the_config_is_none_of_live_querys_business(database, disable):
    await disable(True, quietly=True)
    async with database.sessions("live_query").begin() as session:
        with pytest.raises(Exception, match="permission denied"):
            await session.get(AppConfig, 1)


async def test_none_starts_and_none_goes_on_while_they_are_off(deps, running, fleet, start, admin, disable, database):
    await fleet.hosts(1)
    async with running(deps):
        number = (await start(label_ids=[1])).campaign_id
        await admin.request(PauseCampaignV1(campaign_id=number, paused=True))
        await disable(True)
        with pytest.raises(Denied, match="turned off"):
            await start(label_ids=[1])
        with pytest.raises(Denied, match="turned off"):
            await admin.request(PauseCampaignV1(campaign_id=number, paused=False))
        await disable(False)
        resumed = await admin.request(PauseCampaignV1(campaign_id=number, paused=False))

    assert [row.id for row in await database.rows(Campaign)] == [number]
    assert resumed.changed


async def test_a_lost_bucket_gets_the_switch_before_any_command(deps, running, fleet, start, disable):
    await fleet.hosts(1)
    async with running(deps):
        number = (await start(label_ids=[1])).campaign_id
    await disable(True, quietly=True)
    await deps.bucket.delete(command_key(number))
    await Keeper(deps).tick(set())
    (_, command), (_, word) = [await deps.bucket.entry(key) for key in (command_key(number), SWITCH_KEY)]

    assert word < command


async def test_no_command_is_put_back_while_the_switch_cannot_be_told(
    deps, running, fleet, start, disable, monkeypatch
):
    await fleet.hosts(1)
    async with running(deps):
        number = (await start(label_ids=[1])).campaign_id
    await disable(True, quietly=True)
    await deps.bucket.delete(command_key(number))

    async def down(_: object) -> None:
        raise Unavailable("down")

    monkeypatch.setattr(housekeeping, "keep_switch", down)
    await Keeper(deps).tick(set())

    assert await deps.bucket.get(command_key(number)) is None
