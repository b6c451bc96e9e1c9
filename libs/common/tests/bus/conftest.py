"""What the tests of the bus share."""

import nats
import pytest


@pytest.fixture
async def provision(nats_server):
    """JetStream as the user who may look at every stream and change it."""
    where = nats_server.where
    client = await nats.connect(
        where.url, user="provision", password=where.passwords["provision"], inbox_prefix=b"_INBOX.provision"
    )
    yield client.jetstream()
    await client.close()
