"""Viewers: cursors on one stream, as many as like, from any position, before and after the end."""

from __future__ import annotations

import asyncio

from flotilla_common.contracts.redis_keys import campaign_rows
from flotilla_common.testing import eventually

from ..conftest import answer_to


async def watch(books, campaign_id: int, position: str = "0-0") -> list[dict[str, str]]:
    """Read as admin-api does until the end entry."""
    entries: list[dict[str, str]] = []
    while not entries or "end" not in entries[-1]:
        answer = await books.redis.xread({campaign_rows(campaign_id): position}, count=16, block=1000)
        streams = answer.values() if isinstance(answer, dict) else [found for _, found in answer]
        for found in streams:
            for place, fields in found[0] if isinstance(answer, dict) else found:
                position = place
                entries.append({name.decode(): value.decode() for name, value in fields.items()})
    return entries


async def test_two_viewers_see_the_same_rows_and_a_late_one_sees_them_too(deps, running, fleet, start, gateway, books):
    hosts = await fleet.hosts(40)
    async with running(deps):
        campaign = await start(label_ids=[1])
        number = campaign.campaign_id
        viewers = [asyncio.create_task(watch(books, number)) for _ in range(2)]
        for host_id in hosts[:20]:
            await gateway.answer(host_id, answer_to(number, [{"id": str(host_id)}]))
        await eventually(lambda: books.hosts_seen(number))
        viewers.append(asyncio.create_task(watch(books, number)))
        for host_id in hosts[20:]:
            await gateway.answer(host_id, answer_to(number, [{"id": str(host_id)}]))
        async with asyncio.timeout(60):
            seen = await asyncio.gather(*viewers)
    afterwards = await watch(books, number)

    assert sorted(int(entry["host"]) for entry in seen[0][:-1]) == hosts
    assert seen[0] == seen[1] == seen[2] == afterwards


async def test_a_viewer_goes_on_from_where_it_was(deps, running, fleet, start, gateway, books):
    hosts = await fleet.hosts(3)
    async with running(deps):
        campaign = await start(label_ids=[1])
        for host_id in hosts:
            await gateway.answer(host_id, answer_to(campaign.campaign_id))
        await eventually(lambda: books.is_complete(campaign.campaign_id), timeout=30)
    [(first, _), *_] = await books.redis.xrange(campaign_rows(campaign.campaign_id))

    assert await watch(books, campaign.campaign_id, first) == (await watch(books, campaign.campaign_id))[1:]
