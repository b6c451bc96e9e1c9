"""Database: roles write their own schema only, the outbox sends what commits, migrations match the tables."""

import asyncio
import os
import secrets
import socket
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory
from flotilla_common.contracts.definitions import TeamChangedV1
from flotilla_common.contracts.labels import BUILTIN_LABELS
from flotilla_common.db import outbox
from flotilla_common.db.engine import connect_alone, create_engine
from flotilla_common.db.migrate import HERE, READS, config, grant
from flotilla_common.db.models.admin_api import Label, Outbox, Team
from flotilla_common.db.models.inventory import Host
from flotilla_common.db.relay import relay
from flotilla_common.db.revisions import head
from flotilla_common.db.schema_check import verify_schema
from flotilla_common.errors import Unavailable
from flotilla_common.settings import DatabaseSettings
from flotilla_common.testing import eventually
from flotilla_common.testing.spans import trace_of
from opentelemetry import trace
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import make_url, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import create_async_engine


def settings_for(database, bus_settings_for, service: str) -> DatabaseSettings:
    common = bus_settings_for(service)
    return DatabaseSettings(
        nats_url=common.nats_url,
        nats_user=service,
        nats_password=common.nats_password,
        health_port=0,
        database_url=SecretStr(database.url(service)),
    )


@pytest.mark.parametrize("service", sorted(READS))
async def test_a_service_cannot_write_in_another_schema(database, service):
    for other in READS:
        if other == service:
            continue
        async with database.sessions(service)() as session:
            table = await session.scalar(text("SELECT 1 FROM pg_tables WHERE schemaname = :schema"), {"schema": other})
            assert table
            with pytest.raises(ProgrammingError, match="permission denied"):
                await session.execute(text(f"CREATE TABLE {other}.mine (id int)"))


@pytest.mark.parametrize(
    ("service", "statement"),
    [
        ("admin_api", "DELETE FROM inventory.hosts"),
        ("inventory", "INSERT INTO admin_api.teams (name) VALUES ('x')"),
        ("log_shipper", "SELECT * FROM inventory.hosts"),
        ("live_query", "SELECT * FROM config_merger.plans"),
        ("live_query", "SELECT id FROM admin_api.users"),
        ("live_query", "SELECT id FROM admin_api.sessions"),
        ("live_query", "SELECT id FROM admin_api.enroll_secrets"),
        ("config_merger", "SELECT id FROM admin_api.enroll_secrets"),
        ("inventory", "SELECT id FROM admin_api.sessions"),
        ("admin_api", "SELECT id FROM inventory.outbox"),
        ("admin_api", "SELECT 1 FROM config_merger.plans"),
        ("analytics", "SELECT password_hash FROM admin_api.users"),
        ("analytics", "SELECT token_hash FROM admin_api.sessions"),
        ("analytics", "SELECT id FROM admin_api.enroll_secrets"),
        ("config_merger", "UPDATE admin_api.app_config SET id = 2"),
    ],
)
async def test_a_forbidden_statement_is_refused_by_postgres(database, service, statement):
    async with database.sessions(service)() as session:
        with pytest.raises(ProgrammingError, match="permission denied"):
            await session.execute(text(statement))


@pytest.mark.parametrize("service", sorted(READS))
async def test_a_service_reads_what_is_listed_for_it_and_nothing_else(database, service):
    listed = {f"{schema}.{table}" for schema, tables in READS[service].items() for table in tables}
    async with database.sessions(service)() as session:
        found = await session.execute(
            text(
                "SELECT schemaname, tablename,"
                " has_schema_privilege(schemaname, 'USAGE')"
                " AND has_any_column_privilege(format('%I.%I', schemaname, tablename), 'SELECT') AS readable"
                " FROM pg_tables WHERE schemaname = ANY(:schemas)"
            ),
            {"schemas": [schema for schema in READS if schema != service]},
        )
        readable = {f"{row.schemaname}.{row.tablename}" for row in found if row.readable}
        for table in listed:
            name, _, columns = table.partition("(")
            await session.execute(text(f"SELECT {columns.rstrip(')') or '*'} FROM {name}"))

    assert readable == {table.partition("(")[0] for table in listed}


def test_rights_of_an_earlier_release_are_taken_back(database, shared_servers):
    engine = sa.create_engine(database.owner_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        for earlier in (
            "GRANT SELECT ON ALL TABLES IN SCHEMA admin_api TO flotilla_live_query",
            "GRANT SELECT (password_hash) ON admin_api.users TO flotilla_live_query",
            "GRANT USAGE ON SCHEMA log_shipper TO flotilla_live_query",
            "ALTER DEFAULT PRIVILEGES IN SCHEMA admin_api GRANT SELECT ON TABLES TO flotilla_live_query",
        ):
            connection.execute(text(earlier))
        grant(connection, shared_servers.postgres_passwords)
        connection.execute(text("CREATE TABLE admin_api.of_a_later_release (id int)"))
        left = connection.execute(
            text(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'admin_api'"
                " AND has_any_column_privilege('flotilla_live_query', format('%I.%I', schemaname, tablename), 'SELECT')"
            )
        )
        assert sorted(row.tablename for row in left) == ["app_config", "labels"]
        may_read = "SELECT has_column_privilege('flotilla_live_query', 'admin_api.app_config', :column, 'SELECT')"
        columns = {name: connection.scalar(text(may_read), {"column": name}) for name in ("document", "id")}
        assert columns == {"document": False, "id": True}
        assert not connection.scalar(text("SELECT has_schema_privilege('flotilla_live_query', 'log_shipper', 'USAGE')"))
        connection.rollback()


async def test_every_test_starts_with_the_built_in_labels_and_nothing_else(database):
    labels = await database.rows(Label)

    assert {(label.id, label.name) for label in labels} == {(own.label_id, own.name) for own in BUILTIN_LABELS}
    assert await database.rows(Host) == []


async def test_the_migrations_make_exactly_the_tables_that_are_declared(database):
    engine = sa.create_engine(database.owner_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA seeds CASCADE"))
        command.check(config(connection))
        connection.rollback()


def test_the_head_by_file_names_is_the_one_that_alembic_finds():
    assert head() == ScriptDirectory(str(HERE)).get_current_head()


@pytest.mark.parametrize("found", ["0001_inventory", "0003_config_merger", "what is this", None])
async def test_a_service_refuses_an_older_schema(database, found):
    async with at_revision(database, found) as engine:
        with pytest.raises(Unavailable, match="make migrate"):
            await verify_schema(engine)


@pytest.mark.parametrize("found", [head(), "9999_of_a_release_to_come"])
async def test_a_service_starts_on_its_own_schema_and_on_a_newer_one(database, found):
    async with at_revision(database, found) as engine:
        await verify_schema(engine)


@asynccontextmanager
async def at_revision(database, revision: str | None):
    async def store(value: str | None) -> None:
        async with database.sessions().begin() as session:
            await session.execute(text("DELETE FROM public.alembic_version"))
            if value is not None:
                await session.execute(text("INSERT INTO public.alembic_version VALUES (:value)"), {"value": value})

    await store(revision)
    engine = create_async_engine(database.url("inventory"), poolclass=sa.NullPool)
    try:
        yield engine
    finally:
        await store(head())


@pytest.mark.parametrize(
    "service", ["inventory", "admin_api", "config_merger", "live_query", "log_shipper", "analytics", "agent_gateway"]
)
def test_no_service_loads_alembic(service):
    code = f"import sys, {service}.__main__; sys.exit('alembic' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_the_relay_sends_what_was_committed_and_nothing_else(database, bus_for, bus_settings_for):
    admin, merger = await bus_for("admin_api"), await bus_for("config_merger")
    task = asyncio.create_task(relay(admin, settings_for(database, bus_settings_for, "admin_api"), "admin_api"))
    sessions = database.sessions("admin_api")
    async with sessions.begin() as session:
        session.add(Team(name="kept"))
        await outbox.add(session, TeamChangedV1(team_id=1))
    async with sessions() as session:
        await outbox.add(session, TeamChangedV1(team_id=2))
        await session.rollback()
    async with sessions.begin() as session:
        await outbox.add(session, TeamChangedV1(team_id=3), TeamChangedV1(team_id=4))

    async def sent() -> bool:
        return (await merger.js.stream_info("DEFINITIONS")).state.messages == 3

    await eventually(sent)
    await eventually(lambda: _is_empty(database))
    task.cancel()


async def test_the_relay_is_woken_by_every_change_also_while_it_sends(database, bus_for, bus_settings_for, monkeypatch):
    monkeypatch.setattr("flotilla_common.db.relay.WAKE_SECONDS", 3600.0)
    admin = await bus_for("admin_api")
    task = asyncio.create_task(relay(admin, settings_for(database, bus_settings_for, "admin_api"), "admin_api"))
    sessions = database.sessions("admin_api")

    async def edit(team_id: int) -> None:
        async with sessions.begin() as session:
            await outbox.add(session, TeamChangedV1(team_id=team_id))

    for _ in range(40):
        await asyncio.gather(*(edit(number) for number in range(3)))
        await eventually(lambda: _is_empty(database), timeout=20)
    task.cancel()


async def test_an_event_carries_the_trace_of_what_caused_it(database, bus_for, bus_settings_for, spans):
    admin, merger = await bus_for("admin_api"), await bus_for("config_merger")
    sessions = database.sessions("admin_api")
    with trace.get_tracer(__name__).start_as_current_span("edit") as span:
        async with sessions.begin() as session:
            await outbox.add(session, TeamChangedV1(team_id=1))
    async with sessions.begin() as session:
        await outbox.add(session, TeamChangedV1(team_id=2))
    task = asyncio.create_task(relay(admin, settings_for(database, bus_settings_for, "admin_api"), "admin_api"))
    await eventually(lambda: _is_empty(database))
    task.cancel()
    headers = [(await merger.js.get_msg("DEFINITIONS", number)).headers or {} for number in (1, 2)]

    assert headers[0]["traceparent"].split("-")[1:3] == [trace_of(span), f"{span.get_span_context().span_id:016x}"]
    assert "traceparent" not in headers[1]


async def _is_empty(database) -> bool:
    return not await database.rows(Outbox)


async def test_events_wait_in_the_outbox_while_nats_is_down_and_leave_in_order(
    database, bus_for, bus_settings_for, nats_server
):
    admin, merger = await bus_for("admin_api"), await bus_for("config_merger")
    nats_server.running.stop()
    async with database.sessions("admin_api").begin() as session:
        await outbox.add(session, *(TeamChangedV1(team_id=n) for n in range(1, 6)))
    task = asyncio.create_task(relay(admin, settings_for(database, bus_settings_for, "admin_api"), "admin_api"))
    assert len(await database.rows(Outbox)) == 5
    nats_server.running.start()

    await eventually(lambda: _is_empty(database), timeout=30)
    got = [
        TeamChangedV1.model_validate_json((await merger.js.get_msg("DEFINITIONS", n)).data).team_id for n in range(1, 6)
    ]
    assert got == [1, 2, 3, 4, 5]
    task.cancel()


async def test_no_connection_waits_without_end_for_a_server_whose_network_is_gone(database, bus_settings_for):
    wanted = {"tcp_user_timeout": "10000", "keepalives_idle": "5", "keepalives_interval": "2", "keepalives_count": "3"}
    engine = create_engine(settings_for(database, bus_settings_for, "inventory"))
    async with engine.connect() as pooled, await connect_alone(database.url("inventory")) as alone:
        of_the_pool = (await pooled.get_raw_connection()).driver_connection
        for connection in (of_the_pool, alone):
            assert wanted.items() <= connection.info.get_parameters().items()
            with socket.socket(fileno=os.dup(connection.pgconn.socket)) as underneath:
                assert underneath.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
            for name, value in {"statement_timeout": "10s", "idle_in_transaction_session_timeout": "1min"}.items():
                assert (await (await connection.execute(f"SHOW {name}")).fetchone()) == (value,)
    await engine.dispose()


async def test_a_lone_connection_takes_a_password_of_any_characters(database):
    url = make_url(database.owner_url)
    role, password = f"odd {secrets.token_hex(4)}", "a b'c@d/e%f+g\\h"
    async with await connect_alone(url) as superuser:
        await superuser.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
        )
        try:
            theirs = url.set(username=role, password=password)
            async with await connect_alone(theirs.render_as_string(hide_password=False)) as connection:
                assert connection.info.user == role
                assert connection.info.get_parameters()["application_name"] == role
        finally:
            await superuser.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
