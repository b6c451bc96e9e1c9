"""The engine of the services."""

import pytest
from flotilla_common.db.engine import create_engine
from flotilla_common.settings import DatabaseSettings
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError


async def test_an_error_does_not_tell_what_people_sent(database, bus_settings_for):
    common = bus_settings_for("admin_api")
    engine = create_engine(
        DatabaseSettings(
            nats_url=common.nats_url,
            nats_user="admin_api",
            nats_password=common.nats_password,
            health_port=0,
            database_url=SecretStr(database.url("admin_api")),
        )
    )

    with pytest.raises(DBAPIError) as caught:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1 / 0 WHERE :token <> ''"), {"token": "tok-en"})
    await engine.dispose()

    assert "SELECT 1 / 0" in str(caught.value)
    assert "tok-en" not in str(caught.value)
