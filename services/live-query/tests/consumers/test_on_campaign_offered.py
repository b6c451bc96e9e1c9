"""campaigns.offered.v1: a detail of pending, which no state depends on."""

from __future__ import annotations

import base64

import pytest
from flotilla_common.contracts.bitmaps import bytes_of
from flotilla_common.contracts.campaigns import CampaignOfferedV1
from flotilla_common.testing import eventually
from live_query.consumers import on_campaign_offered

from ..conftest import answer_to


def offered(campaign_id: int, host_ids: list[int]) -> CampaignOfferedV1:
    return CampaignOfferedV1(campaign_id=campaign_id, bitmap=base64.b64encode(bytes_of(host_ids)).decode())


async def test_a_host_that_took_the_query_is_pending_and_offered_until_it_answers(
    deps, running, fleet, start, gateway, books
):
    [silent, quick, other] = await fleet.hosts(3)
    async with running(deps):
        number = (await start(label_ids=[1])).campaign_id
        await gateway.answer(quick, answer_to(number))
        await eventually(lambda: has_state(books, number, quick, "answered"), timeout=30)
        await gateway.bus.send(offered(number, [silent, quick, 999]))
        await eventually(lambda: is_offered(books, number, silent), timeout=30)
        rows = await books.ledger(number)
        await gateway.answer(silent, answer_to(number))
        await eventually(lambda: has_state(books, number, silent, "answered"), timeout=30)

    assert {host_id for host_id, row in rows.items() if row.offered_at} == {silent}
    assert rows[silent].state == "pending"
    assert rows[other].offered_at is None


async def test_a_report_that_comes_twice_changes_nothing(deps, running, fleet, start, books, clock):
    [host_id] = await fleet.hosts(1)
    async with running(deps):
        number = (await start(label_ids=[1])).campaign_id
    await on_campaign_offered.handle(offered(number, [host_id]), deps)
    before = await books.ledger(number)
    clock.move(seconds=5)
    await on_campaign_offered.handle(offered(number, [host_id]), deps)

    assert await books.ledger(number) == before


@pytest.mark.parametrize(
    "body", [b"", b"garbage", b'{"campaign_id":1,"bitmap":"AAAA"}', b'{"campaign_id":1,"bitmap":"\xff"}']
)
async def test_a_report_that_makes_no_sense_harms_no_other(deps, running, fleet, start, gateway, books, body):
    [host_id] = await fleet.hosts(1)
    async with running(deps):
        number = (await start(label_ids=[1])).campaign_id
        await gateway.bus.client.publish(CampaignOfferedV1.subject, body)
        await gateway.bus.send(offered(number, [host_id]))
        await eventually(lambda: is_offered(books, number, host_id), timeout=30)


async def has_state(books, campaign_id: int, host_id: int, state: str) -> bool:
    return (await books.states(campaign_id))[host_id] == state


async def is_offered(books, campaign_id: int, host_id: int) -> bool:
    return (await books.ledger(campaign_id))[host_id].offered_at is not None
