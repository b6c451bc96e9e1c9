"""The engine of the services."""

import pytest
from flotilla_common.db import engine as engines
from flotilla_common.db.engine import create_engine
from flotilla_common.settings import DatabaseSettings
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError


@pytest.fixture
async def engine(database, bus_settings_for):
    common = bus_settings_for("admin_api")
    settings = DatabaseSettings(
        nats_url=common.nats_url,
        nats_user="admin_api",
        nats_password=common.nats_password,
        health_port=0,
        database_url=SecretStr(database.url("admin_api")),
    )
    engine = create_engine(settings)
    yield engine
    await engine.dispose()


async def test_an_error_does_not_tell_what_people_sent(engine):
    with pytest.raises(DBAPIError) as caught:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1 / 0 WHERE :token <> ''"), {"token": "tok-en"})

    assert "SELECT 1 / 0" in str(caught.value)
    assert "tok-en" not in str(caught.value)


async def backend(engine) -> int:
    async with engine.connect() as connection:
        return await connection.scalar(text("SELECT pg_backend_pid()"))


async def test_a_connection_that_the_server_has_closed_is_replaced_though_it_was_just_used(engine):
    first, second = engine.connect(), engine.connect()
    async with first, second:
        closed = [await one.scalar(text("SELECT pg_backend_pid()")) for one in (first, second)]
    async with engine.connect() as connection:
        await connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": closed[0]})
        assert await connection.scalar(text("SELECT pg_backend_pid()")) == closed[1]

    used = {await backend(engine) for _ in range(4)}

    assert closed[0] not in used


async def test_a_connection_is_asked_whether_it_works_only_when_it_was_idle(engine, monkeypatch):
    asked = []
    real = engine.sync_engine.dialect.do_ping
    monkeypatch.setattr(engine.sync_engine.dialect, "do_ping", lambda one: asked.append(one) or real(one))
    pids = {await backend(engine) for _ in range(3)}
    assert (len(pids), asked) == (1, [])

    monkeypatch.setattr(engines, "TRUSTED_SECONDS", 0.0)
    pids.add(await backend(engine))

    assert (len(pids), len(asked)) == (1, 1)
