"""Activities: who did what, listed."""

from __future__ import annotations

import pytest
from flotilla_common.db.models.admin_api import Activity


@pytest.fixture
async def three(database, admin) -> None:
    await database.add(
        Activity(type="created_team", details={"team_id": 1}, actor_id=1, actor_full_name="Ada", actor_email="a@b.c"),
        Activity(type="deleted_team", actor_full_name="Gone", actor_email="g@b.c"),
        Activity(type="fleet_enrolled", details={"host_id": 1}, actor_full_name="Fleet", fleet_initiated=True),
    )


async def test_they_come_oldest_first_with_whoever_did_it(ask, admin, three):
    body = (await ask(admin, "GET /activities")).json()

    assert [found["type"] for found in body["activities"]] == ["created_team", "deleted_team", "fleet_enrolled"]
    first, second, third = body["activities"]
    assert (first["actor_id"], first["actor_full_name"], first["actor_gravatar"]) == (1, "Ada", "")
    assert (first["details"], first["fleet_initiated"]) == ({"team_id": 1}, False)
    assert "actor_id" not in second
    assert second["details"] is None
    assert (third["actor_full_name"], third["fleet_initiated"]) == ("Fleet", True)
    assert body["meta"] == {"has_next_results": False, "has_previous_results": False}


async def test_the_pages_ask_for_the_newest_first(ask, admin, three):
    order = {"order_key": "created_at", "order_direction": "desc"}

    first = (await ask(admin, "GET /activities", per_page="2", page="0", **order)).json()
    second = (await ask(admin, "GET /activities", per_page="2", page="1", **order)).json()

    assert [found["id"] for found in first["activities"]] in ([3, 2], [1, 2])  # one transaction, one time: ties by id
    assert first["meta"] == {"has_next_results": True, "has_previous_results": False}
    assert len(second["activities"]) == 1
    assert second["meta"] == {"has_next_results": False, "has_previous_results": True}


async def test_a_cursor_goes_on_after_a_row_and_has_no_meta(ask, admin, three):
    body = (await ask(admin, "GET /activities", order_key="a.id", after="1")).json()

    assert [found["id"] for found in body["activities"]] == [2, 3]
    assert body["meta"] is None


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"order_key": "details"}, 422),
        ({"order_direction": "asc"}, 400),
        ({"order_key": "id", "order_direction": "up"}, 400),
        ({"after": "1"}, 400),
        ({"order_key": "id", "after": "x"}, 422),
        ({"page": "x"}, 400),
        ({"per_page": "0"}, 400),
    ],
)
async def test_options_that_make_no_sense_are_refused(ask, admin, parameters, status):
    assert (await ask(admin, "GET /activities", **parameters)).status_code == status


@pytest.mark.parametrize(
    ("role", "of_a_team", "status"),
    [("observer", False, 200), ("maintainer", False, 200), ("gitops", False, 403), ("admin", True, 403)],
)
async def test_who_may_read_them(ask, make_team, make_user, role, of_a_team, status):
    member = await make_user(role, await make_team("Servers") if of_a_team else None, api_only=role == "gitops")

    assert (await ask(member, "GET /activities")).status_code == status
