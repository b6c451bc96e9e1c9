"""/logs/host_losses and /logs/gaps: whose hosts are in the lists, and what is said of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from flotilla_common.db.models.inventory import Host, HostSeen
from flotilla_common.db.models.log_shipper import HostLoss
from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def loss(database):
    """Write what log-shipper would have written."""

    async def write(host_id: int, lines: int, *, kind: str = "purged", warnings: int = 1, minutes: int = 0) -> None:
        last_at = NOON + timedelta(minutes=minutes)
        row = HostLoss(host_id=host_id, kind=kind, lines=lines, warnings=warnings, first_at=NOON, last_at=last_at)
        row.marks = []
        await database.add(row)

    return write


@pytest.fixture
def shown(ask):
    """Return the hosts of a member's list with their lines."""

    async def listed(member, **parameters: str) -> list[tuple[str, int]]:
        answer = await ask(member, "GET /logs/host_losses", **parameters)
        assert answer.status_code == 200, answer.text
        return [(one["display_name"], one["lines"]) for one in answer.json()["host_losses"]]

    return listed


async def test_a_host_is_shown_once_with_all_kinds(fleet, admin, ask, loss):
    host = await fleet.host("web-1")
    await fleet.host("fine")
    await loss(host, 250, warnings=2)
    await loss(host, 3, kind="oversize", warnings=5, minutes=9)

    answer = (await ask(admin, "GET /logs/host_losses")).json()

    assert answer == {
        "host_losses": [
            {
                "host_id": host,
                "display_name": "web-1",
                "team_id": None,
                "lines": 253,
                "warnings": 7,
                "kinds": {"purged": 250, "oversize": 3},
                "first_at": "2026-11-24T12:00:00Z",
                "last_at": "2026-11-24T12:09:00Z",
            }
        ],
        "meta": {"has_next_results": False, "has_previous_results": False},
    }


async def test_a_member_sees_the_hosts_of_own_teams(fleet, make_team, make_user, admin, shown, loss):
    servers, laptops = await make_team("Servers"), await make_team("Laptops")
    for number, team in enumerate((servers, laptops, None)):
        await loss(await fleet.host(f"host-{number}", team), number + 1)
    member = await make_user("observer", team=servers)

    assert await shown(member) == [("host-0", 1)]
    assert await shown(admin) == [("host-0", 1), ("host-1", 2), ("host-2", 3)]
    assert await shown(admin, team_id=str(laptops)) == [("host-1", 2)]


async def test_another_teams_list_is_refused(fleet, make_team, make_user, ask):
    servers, laptops = await make_team("Servers"), await make_team("Laptops")
    member = await make_user("observer", team=servers)

    assert (await ask(member, "GET /logs/host_losses", team_id=str(laptops))).status_code == 403


async def test_pages_and_orders(fleet, admin, ask, shown, loss):
    for number in range(3):
        await loss(await fleet.host(f"host-{number}"), 10 - number, minutes=number)

    assert await shown(admin, order_key="lines") == [("host-2", 8), ("host-1", 9), ("host-0", 10)]
    assert await shown(admin, order_key="last_at", order_direction="desc", per_page="1") == [("host-2", 8)]
    assert await shown(admin, page="1", per_page="2") == [("host-2", 8)]
    first = (await ask(admin, "GET /logs/host_losses", per_page="2")).json()
    assert first["meta"] == {"has_next_results": True, "has_previous_results": False}


@pytest.mark.parametrize(("parameters", "status"), [({"per_page": "5000"}, 400), ({"order_key": "marks"}, 422)])
async def test_what_makes_no_sense_is_refused(admin, ask, parameters, status):
    assert (await ask(admin, "GET /logs/host_losses", **parameters)).status_code == status


async def test_filters_of_the_list_of_hosts_hold(fleet, admin, shown, loss):
    for name in ("web-1", "db-1"):
        await loss(await fleet.host(name), 1)

    assert await shown(admin, query="web") == [("web-1", 1)]
    assert await shown(admin, status="online") == [("web-1", 1), ("db-1", 1)]
    assert await shown(admin, status="mia") == []


@pytest.fixture
def quiet(fleet, database):
    """A host that is online; its lines stopped so many hours ago (None: there never were any)."""

    async def make(name: str, hours: float | None, team: int | None = None) -> int:
        host_id = await fleet.host(name, team)
        now = datetime.now(UTC)
        logged_at = None if hours is None else now - timedelta(hours=hours)
        async with database.sessions().begin() as session:
            await session.execute(update(Host).where(Host.id == host_id).values(created_at=now - timedelta(days=9)))
            statement = insert(HostSeen).values(host_id=host_id, seen_at=now, logged_at=logged_at)
            times = {"seen_at": now, "logged_at": logged_at}
            await session.execute(statement.on_conflict_do_update(index_elements=["host_id"], set_=times))
        return host_id

    return make


@pytest.fixture
def gaps(ask):
    async def listed(member, **parameters: str) -> list[str]:
        answer = await ask(member, "GET /logs/gaps", **parameters)
        assert answer.status_code == 200, answer.text
        return [one["display_name"] for one in answer.json()["gaps"]]

    return listed


async def test_hosts_whose_lines_stopped_are_listed(admin, ask, quiet, gaps):
    stopped = await quiet("stopped", 25)
    await quiet("fine", 23)
    await quiet("never", None)

    answer = (await ask(admin, "GET /logs/gaps", order_key="logged_at")).json()

    assert [one["display_name"] for one in answer["gaps"]] == ["stopped", "never"]
    first, second = answer["gaps"]
    assert (first["host_id"], first["team_id"], second["logged_at"]) == (stopped, None, None)
    assert first["logged_at"] < first["seen_at"]
    assert answer["meta"] == {"has_next_results": False, "has_previous_results": False}
    assert await gaps(admin, hours="1", order_key="host_id") == ["stopped", "fine", "never"]
    assert await gaps(admin, hours="1", per_page="1", page="1") == ["fine"]


async def test_gaps_of_other_teams_are_not_shown(quiet, make_team, make_user, admin, ask, gaps):
    servers, laptops = await make_team("Servers"), await make_team("Laptops")
    for name, team in (("web", servers), ("laptop", laptops), ("nobody's", None)):
        await quiet(name, 48, team)
    member = await make_user("observer", team=servers)

    assert await gaps(member) == ["web"]
    assert await gaps(admin, team_id=str(laptops)) == ["laptop"]
    assert (await ask(member, "GET /logs/gaps", team_id=str(laptops))).status_code == 403


@pytest.mark.parametrize("hours", ["0", "-1", "1e9", "nan", "soon"])
async def test_hours_that_make_no_sense_are_refused(admin, ask, hours):
    assert (await ask(admin, "GET /logs/gaps", hours=hours)).status_code in {400, 422}
