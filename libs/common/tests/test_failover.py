"""A Postgres that became read-only is an outage, not a bug: the pool leads to what is no longer the primary."""

import pytest
from flotilla_common.bus import outage
from flotilla_common.db.engine import connect_alone, create_engine
from flotilla_common.errors import Unavailable
from flotilla_common.settings import DatabaseSettings
from flotilla_common.testing.waiting import eventually
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InternalError

WRITE = "UPDATE inventory.hosts SET team_id = team_id"


@pytest.fixture
async def engine(database, bus_settings_for):
    common = bus_settings_for("inventory")
    settings = DatabaseSettings(
        nats_url=common.nats_url,
        nats_user="inventory",
        nats_password=common.nats_password,
        health_port=0,
        database_url=SecretStr(database.url("inventory")),
    )
    engine = create_engine(settings)
    yield engine
    await engine.dispose()


async def backend(connection) -> int:
    return (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()


async def test_a_refused_write_is_unavailable_and_the_pool_connects_anew(engine):
    async with engine.connect() as connection:
        before = await backend(connection)
        await connection.rollback()
        await connection.execute(text("SET TRANSACTION READ ONLY"))
        with pytest.raises(Unavailable, match="read-only"):
            await connection.execute(text(WRITE))
    async with engine.begin() as connection:
        await connection.execute(text(WRITE))
        after = await backend(connection)

    assert after != before


async def test_a_transaction_that_postgres_ended_for_its_silence_is_unavailable(engine):
    """So it is for a process that was frozen in it, and wakes."""
    async with engine.connect() as connection, engine.connect() as other:
        silent = await backend(connection)
        await connection.execute(text("SET idle_in_transaction_session_timeout = 100"))
        await eventually(lambda: has_ended(other, silent))
        with pytest.raises(Unavailable, match="nothing was said"):
            await connection.execute(text("SELECT 1"))
    async with engine.begin() as connection:
        assert await backend(connection) != silent


async def has_ended(connection, process):
    await connection.rollback()  # what is shown is of one moment for a whole transaction
    found = await connection.execute(text("SELECT 1 FROM pg_stat_activity WHERE pid = :pid"), {"pid": process})
    return found.first() is None


async def test_a_transaction_used_after_its_failure_is_a_bug(engine):
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError):
            await connection.execute(text("SELECT 1/0"))
        with pytest.raises(InternalError) as raised:
            await connection.execute(text("SELECT 1"))

    assert not isinstance(raised.value, outage.kinds())


async def test_a_refused_write_outside_the_pool_is_an_outage(database):
    async with await connect_alone(database.url("inventory")) as connection:
        await connection.execute("SET default_transaction_read_only = on")
        with pytest.raises(outage.kinds()):
            await connection.execute(WRITE)
