"""Faults of what admin-api stands on: no change is lost, everything resumes by itself."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import httpx2
import pytest
from admin_api.app import create_app
from flotilla_common.db.models.admin_api import Outbox
from flotilla_common.db.relay import relay
from flotilla_common.testing.waiting import eventually
from redis.asyncio import Redis

PASSWORD = "correct-Horse-7"


@pytest.fixture
async def relayed(deps, settings):
    """admin-api's relay, running."""
    task = asyncio.create_task(relay(deps.bus, settings, "admin_api"))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def published(bus) -> list[tuple[str, dict[str, object]]]:
    """All that stream DEFINITIONS holds, in its order."""
    last = (await bus.js.stream_info("DEFINITIONS")).state.messages
    found = [await bus.js.get_msg("DEFINITIONS", number) for number in range(1, last + 1)]
    return [(message.subject, json.loads(message.data)) for message in found]


async def test_changes_are_taken_while_nats_is_down_and_told_in_order_afterwards(
    ask, admin, database, relayed, bus_for, nats_server
):
    merger = await bus_for("config_merger")
    await eventually(lambda: outbox_is_empty(database), timeout=30.0)
    before = len(await published(merger))
    nats_server.running.stop()

    answers = [
        await ask(admin, "POST /teams", {"name": "Servers"}),
        await ask(admin, "PATCH /teams/1", {"merge_mode": "merge"}),
        await ask(admin, "POST /teams/1/agent_options", {"config": {}}),
        await ask(admin, "PATCH /teams/1/secrets", {"secrets": []}),
        await ask(admin, "PATCH /config", {"org_info": {"org_name": "B"}, "agent_options": {}}),
        await ask(admin, "POST /queries", {"name": "q", "query": "SELECT 1", "interval": 60}),
        await ask(admin, "POST /labels", {"name": "l", "query": "SELECT 1"}),
        await ask(admin, "DELETE /teams/1"),
    ]
    waiting = [row.subject for row in sorted(await database.rows(Outbox), key=lambda row: row.id)]
    nats_server.running.start()
    await eventually(lambda: outbox_is_empty(database), timeout=60.0)

    assert [answer.status_code for answer in answers] == [200] * 8
    told = (await published(merger))[before:]
    assert [subject for subject, _ in told] == waiting
    assert {subject.split(".")[1] for subject in waiting} == {
        "team_changed",
        "agent_options_changed",
        "enroll_secrets_changed",
        "app_config_changed",
        "query_changed",
        "label_changed",
    }
    assert (told[-1][1]["team_id"], told[-1][1]["deleted"]) == (1, True)


async def outbox_is_empty(database) -> bool:
    return not await database.rows(Outbox)


@pytest.mark.impatient
async def test_what_needs_another_part_is_refused_while_nats_is_down_and_nothing_is_half_done(
    ask, admin, database, nats_server, news
):
    nats_server.running.stop()
    try:
        answer = await ask(admin, "POST /labels", {"name": "manual", "hosts": []})
    finally:
        nats_server.running.start()

    assert (answer.status_code, answer.json()["message"]) == (503, "Service Unavailable")
    assert "manual" not in [label["name"] for label in (await ask(admin, "GET /labels")).json()["labels"]]


async def test_cut_database_connections_are_replaced(ask, admin, database):
    await ask(admin, "GET /teams")
    await database.cut_connections("admin_api")

    answer = await ask(admin, "POST /teams", {"name": "Servers"})

    assert answer.status_code == 200


async def test_without_redis_nobody_may_guess_and_who_is_logged_in_goes_on(deps, admin):
    async with Redis(port=1, socket_connect_timeout=1) as away:
        transport = httpx2.ASGITransport(app=create_app(replace(deps, redis=away)))
        async with httpx2.AsyncClient(transport=transport, base_url="http://admin.test") as client:
            login = await client.post("/api/v1/fleet/login", json={"email": admin.email, "password": PASSWORD})
            teams = await client.get("/api/v1/fleet/teams", headers=admin.headers)

    assert (login.status_code, login.json()["message"]) == (503, "Service Unavailable")
    assert teams.status_code == 200
