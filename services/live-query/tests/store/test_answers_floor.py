"""How far ANSWERS is settled, in the stream's own time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import nats
import pytest
from flotilla_common.contracts.campaigns import ANSWERS_STREAM
from flotilla_common.errors import Unavailable
from flotilla_common.testing.plugin import NatsOfWorker
from live_query.store import answers_floor
from live_query.store.answers_floor import Floor
from nats.js import JetStreamContext

from ..conftest import answer_to

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seen", "oldest", "passed"),
    [(1, None, True), (0, None, False), (-1, None, False), (9, 1, True), (9, 0, False), (9, -1, False)],
)
def test_a_moment_has_passed_when_all_from_before_is_settled_and_no_more_can_come(seen, oldest, passed):
    floor = Floor(NOON + timedelta(seconds=seen), None if oldest is None else NOON + timedelta(seconds=oldest))

    assert floor.has_passed(NOON) is passed


@pytest.fixture
async def provision(nats_server: NatsOfWorker) -> AsyncIterator[JetStreamContext]:
    """Streams as those see them who may delete them."""
    where = nats_server.where
    client = await nats.connect(
        where.url, user="provision", password=where.passwords["provision"], inbox_prefix=b"_INBOX.provision"
    )
    yield client.jetstream()
    await client.close()


async def test_without_the_stream_nobody_knows(deps, provision):
    config = (await provision.stream_info(ANSWERS_STREAM)).config
    await provision.delete_stream(ANSWERS_STREAM)

    try:
        with pytest.raises(Unavailable):
            await answers_floor.find(deps.bus)
    finally:
        await provision.add_stream(config)


async def test_an_answer_is_seen_as_soon_as_the_stream_has_it(deps, running, gateway, provision):
    async with running(deps):
        pass  # its consumer stands
    for n in range(200):
        await gateway.answer(n, answer_to(1))

        assert (await answers_floor.find(deps.bus)).oldest is not None
        await provision.purge_stream(ANSWERS_STREAM)


async def test_the_floor_stands_at_the_oldest_answer_that_waits(deps, running, gateway):
    async with running(deps):
        idle = await answers_floor.find(deps.bus)
    await gateway.answer(1, answer_to(1))
    waiting = await answers_floor.find(deps.bus)
    await gateway.answer(2, answer_to(1))
    still = await answers_floor.find(deps.bus)

    assert idle.oldest is None
    assert waiting.oldest is not None
    assert idle.seen_at < waiting.oldest <= waiting.seen_at < still.seen_at
    assert still.oldest == waiting.oldest
