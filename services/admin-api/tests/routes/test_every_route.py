"""All routes, one by one: none without a login, none without a right, none that lets an observer write."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from admin_api.app import build_app
from admin_api.routes import ROUTERS
from admin_api.routes.versions import VERSIONS
from fastapi.routing import APIRoute
from flotilla_common.db.models.admin_api import Label, Query
from flotilla_common.db.models.inventory import Host
from flotilla_common.db.models.live_query import Campaign

READS = {"GET", "HEAD"}
PUBLIC = {"POST /login", "GET /results", "GET /results/", "GET /results/info"}
SELF = {
    "GET /me",
    "POST /change_password",
    "POST /perform_required_password_reset",
    "POST /logout",
}
"""What every logged-in user may do, since it touches nobody else."""
ANYBODY = {"GET /status/live_query", "GET /status/result_store"}
"""What every logged-in user may know: whether a part works."""
LOOKING = {
    "POST /hosts/search",
    "POST /hosts/{host_id:int}/refetch",
    "POST /targets",
    "POST /targets/count",
    "POST /queries/check",
}
"""POST, but reading: observers may."""

SPEC_USER = {"spec": {"roles": {"ada@acme.test": {"global_role": "observer"}}}}
BODIES: dict[str, object] = {
    "POST /change_password": {"old_password": "correct-Horse-7", "new_password": "correct-Horse-8"},
    "POST /users/admin": {"name": "X", "email": "x@acme.test", "password": "correct-Horse-7", "global_role": "admin"},
    "PATCH /users/{user_id:int}": {"global_role": "observer"},
    "POST /users/{user_id:int}/require_password_reset": {"require": True},
    "POST /users/roles/spec": SPEC_USER,
    "POST /queries/run": {"query": "SELECT 1", "selected": {"hosts": [1]}},
    "POST /queries/run_by_names": {"query": "SELECT 1", "selected": {"hosts": ["A-1"]}},
    "POST /queries/run_by_identifiers": {"query": "SELECT 1", "selected": {"hosts": ["A-1"]}},
    "POST /queries/{query_id:int}/run": {"host_ids": [1]},
    "POST /queries/check": {"query": "SELECT 1"},
    "GET /queries/run": {"query_ids": [1], "host_ids": [1]},
    "POST /hosts/{host_id:int}/query": {"query": "SELECT 1"},
    "POST /hosts/identifier/{identifier}/query": {"query": "SELECT 1"},
    "POST /campaigns/{campaign_id:int}/pause": {"reason": "lunch"},
    "POST /campaigns/{campaign_id:int}/resume": {"budget": {"max_rows": 5}},
    "PATCH /config": {"org_info": {"org_name": "Mine"}},
    "POST /spec/enroll_secret": {"spec": {"secrets": [{"secret": "mine"}]}},
    "PATCH /teams/{team_id:int}/secrets": {"secrets": [{"secret": "mine"}]},
    "POST /hosts/search": {"query": "A"},
    "POST /hosts/delete": {"ids": [1]},
    "POST /logs/dead_letters/replay": {"ids": [1]},
    "POST /logs/dead_letters/discard": {"ids": [1]},
    "POST /logs/destinations/{destination}/replay": {"from_sequence": 1},
    "POST /logs/destinations": {"name": "x", "kind": "s3"},
    "POST /logs/destinations/test": {"name": "x", "kind": "s3"},
    "PATCH /logs/destinations/{destination}": {"settings": {}},
    "POST /hosts/transfer": {"team_id": None, "hosts": [1]},
    "POST /hosts/transfer/filter": {"team_id": None, "filters": {"query": "A"}},
    "POST /hosts/{host_id:int}/labels": {"labels": ["mine"]},
    "DELETE /hosts/{host_id:int}/labels": {"labels": ["mine"]},
    "POST /labels": {"name": "New", "query": "SELECT 1"},
    "PATCH /labels/{label_id:int}": {"name": "New"},
    "POST /spec/labels": {"specs": [{"name": "New", "query": "SELECT 1"}]},
    "POST /queries": {"name": "New", "query": "SELECT 1"},
    "PATCH /queries/{query_id:int}": {"name": "New"},
    "POST /queries/delete": {"ids": [1]},
    "POST /spec/queries": {"specs": [{"name": "New", "query": "SELECT 1"}]},
    "POST /targets": {"query": "", "selected": {"hosts": []}},
    "POST /targets/count": {"selected": {"hosts": [1]}},
    "POST /teams": {"name": "New"},
    "PATCH /teams/{team_id:int}": {"name": "New"},
    "POST /teams/{team_id:int}/agent_options": {"config": {}},
    "POST /spec/teams": {"specs": [{"name": "Servers", "secrets": []}]},
    "PATCH /teams/{team_id:int}/users": {"users": [{"id": 2, "role": "admin"}]},
    "DELETE /teams/{team_id:int}/users": {"users": [{"id": 2}]},
}
"""Good bodies of the routes that want one: with a bad one nothing about rights would be shown."""


def names() -> list[str]:
    """Every route as `METHOD /path`, below the versioned prefix."""
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    return sorted(f"{method} {route.path}" for route in routes for method in route.methods)


ROUTES = names()


@dataclass(frozen=True)
class World:
    """One of each kind of thing; `team_id` is the team of all of them."""

    ids: dict[str, str]

    def path(self, route: str) -> str:
        """Return the path of an existing thing."""
        return re.sub(r"\{(\w+)(:\w+)?\}", lambda found: self.ids[found[1]], route.split(" ")[1])


@pytest.fixture
async def world(database, make_team) -> World:
    team_id = await make_team("Servers")
    host = Host(
        revision=1,
        host_identifier="A-1",
        hostname="A-1",
        node_key_hash=b"1" * 32,
        team_id=team_id,
        platform="ubuntu",
        last_enrolled_at=datetime.now(UTC),
    )
    label = Label(name="mine", label_membership_type="manual")
    query = Query(name="q", query="SELECT 1")
    campaign = Campaign(sql="SELECT 1", user_id=1, command=b"", target_count=1, deadline=datetime.now(UTC))
    await database.add(host, label, query, campaign)
    ids = {"user_id": 1, "session_id": 1, "team_id": team_id, "host_id": host.id, "label_id": label.id, "carve_id": 1}
    texts = {
        "query_id": query.id,
        "name": "q",
        "identifier": "A-1",
        "campaign_id": campaign.id,
        "block_id": 0,
        "destination": "x",
        "letter_id": 1,
        "replay_id": 1,
    }
    return World({name: str(value) for name, value in {**ids, **texts}.items()})


def test_the_document_shows_every_route():
    shown = build_app().openapi()["paths"]
    documented = {
        f"{method.upper()} {path.removeprefix('/api/latest/fleet')}"
        for path, methods in shown.items()
        for method in methods
        if path != "/api/setup"
    }

    hidden = {"GET /results", "GET /results/", "GET /results/info", "POST /queries/run_by_names"}
    assert {re.sub(r":\w+\}", "}", route) for route in ROUTES} - hidden == documented - hidden


def test_every_exception_is_a_route():
    assert (PUBLIC | SELF | ANYBODY | LOOKING | set(BODIES)) <= set(ROUTES)


@pytest.mark.parametrize("version", VERSIONS)
async def test_nobody_comes_in_without_a_login(client, world, version):
    let_in = []
    for route in ROUTES:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}):
            url = f"/api/{version}/fleet{world.path(route)}"
            answer = await client.request(route.split(" ")[0], url, headers=headers, content=b"{")
            if answer.status_code != 401:
                let_in.append(route)

    assert set(let_in) == PUBLIC


async def test_who_has_no_role_gets_nothing_but_what_is_their_own(ask, make_user, world, news):
    nobody = await make_user(None)
    let_in = {
        route: answer.status_code
        for route in ROUTES
        if route not in PUBLIC | SELF | ANYBODY
        and (answer := await ask(nobody, f"{route.split(' ')[0]} {world.path(route)}", BODIES.get(route))).status_code
        != 403
    }

    assert let_in == {}
    assert await news.events() == []


@pytest.mark.parametrize("of_the_team", [False, True])
@pytest.mark.parametrize("role", ["observer", "observer_plus"])
async def test_an_observer_writes_nothing(ask, make_user, world, news, role, of_the_team):
    member = await make_user(role, int(world.ids["team_id"]) if of_the_team else None)
    running = {
        "POST /queries/run",
        "POST /queries/run_by_names",
        "POST /queries/run_by_identifiers",
        "GET /queries/run",
    }
    may_run = {route for route in ROUTES if route.endswith(("/run", "/query"))} | running
    skipped = PUBLIC | SELF | LOOKING | (may_run if role == "observer_plus" else set())
    writes = [route for route in ROUTES if route.split(" ")[0] not in READS and route not in skipped]

    written = {
        route: answer.status_code
        for route in writes
        if (answer := await ask(member, f"{route.split(' ')[0]} {world.path(route)}", BODIES.get(route))).status_code
        != 403
    }

    assert written == {}
    assert await news.events() == []
    assert await news.activities() == []
