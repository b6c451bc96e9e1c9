"""Lists of hosts: paging, order, search, filters, and whose hosts are in them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flotilla_common.contracts.labels import ALL_HOSTS

from .conftest import LONG_AGO


@pytest.fixture
def names(ask):
    """Return the host names that a member's list has."""

    async def listed(member, **parameters: str) -> list[str]:
        answer = await ask(member, "GET /hosts", **parameters)
        assert answer.status_code == 200, answer.text
        return [host["hostname"] for host in answer.json()["hosts"]]

    return listed


async def test_a_list_without_paging_has_every_host_by_id(fleet, admin, names):
    wanted = [f"host-{number}" for number in range(25)]
    for name in wanted:
        await fleet.host(name)

    assert await names(admin) == wanted


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"per_page": "2"}, ["a", "B"]),
        ({"page": "1", "per_page": "2"}, ["c", "d"]),
        ({"page": "9", "per_page": "2"}, []),
        ({"order_key": "hostname", "order_direction": "desc"}, ["d", "c", "B", "a"]),
        ({"order_key": "id", "order_direction": "desc", "per_page": "1"}, ["d"]),
        ({"order_key": "hostname", "after": "b"}, ["c", "d"]),
        ({"order_key": "display_name", "order_direction": "desc", "after": "C"}, ["B", "a"]),
    ],
)
async def test_pages_orders_and_cursors(fleet, admin, names, parameters, expected):
    for name in ("a", "B", "c", "d"):
        await fleet.host(name)

    assert await names(admin, **parameters) == expected


async def test_a_page_without_its_size_has_twenty(fleet, admin, names):
    for number in range(21):
        await fleet.host(f"host-{number}")

    assert len(await names(admin, page="0")) == 20
    assert await names(admin, page="1") == ["host-20"]


async def test_an_id_is_a_number_to_a_cursor(fleet, admin, names):
    ids = [await fleet.host(f"host-{number}") for number in range(12)]

    found = await names(admin, order_key="id", after=str(ids[8]))

    assert found == ["host-9", "host-10", "host-11"]


ORDER_KEYS = """
id created_at updated_at detail_updated_at label_updated_at policy_updated_at last_enrolled_at software_updated_at
seen_time refetch_requested hostname uuid platform osquery_version os_version build platform_like code_name memory
cpu_type cpu_physical_cores hardware_serial computer_name primary_ip public_ip team_id team_name display_name
display_text status issues last_restarted_at distributed_interval uptime gigs_disk_space_available
"""


async def test_every_documented_key_orders(fleet, admin, names):
    await fleet.host("a")
    await fleet.host("b")

    for key in ORDER_KEYS.split():
        assert sorted(await names(admin, order_key=key, order_direction="desc")) == ["a", "b"], key


async def test_no_cursor_breaks_a_list(ask, fleet, admin):
    await fleet.host("a")

    for key in ORDER_KEYS.split():
        for after in ("1", "true", "2020-01-01T00:00:00Z", "9" * 30, "\x00"):
            answer = await ask(admin, "GET /hosts", order_key=key, after=after)
            assert answer.status_code in {200, 422}, (key, after, answer.text)


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"page": "x"}, 400),
        ({"page": "-1"}, 400),
        ({"per_page": "0"}, 400),
        ({"order_direction": "asc"}, 400),
        ({"order_key": "hostname", "order_direction": "up"}, 400),
        ({"after": "3"}, 400),
        ({"order_key": "node_key_hash"}, 422),
        ({"order_key": "nothing"}, 422),
    ],
)
async def test_list_options_that_make_no_sense_are_refused(ask, admin, parameters, status):
    answer = await ask(admin, "GET /hosts", **parameters)

    assert answer.status_code == status


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DB-", ["db-1"]),
        (" books ", ["db-1"]),
        ("sn-77", ["db-1"]),
        ("10.9.", ["db-1"]),
        ("abcd-ef", ["db-1"]),
        ("%", ["100%_sure"]),
        ("_", ["100%_sure"]),
        ("\\", []),
        ("'; DROP TABLE hosts --", []),
        ("r2 (sn-9)", [""]),
    ],
)
async def test_a_text_is_looked_for_in_names_uuid_serial_and_address(fleet, admin, names, text, expected):
    await fleet.host("db-1", computer_name="Books", uuid="abcd-ef", hardware_serial="SN-77", primary_ip="10.9.0.1")
    await fleet.host("100%_sure")
    await fleet.host("", hardware_model="R2", hardware_serial="SN-9", host_identifier="nameless")

    assert await names(admin, query=text) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("online", ["here", "slow"]),
        ("offline", ["away", "lost"]),
        ("new", ["here", "slow", "away"]),
        ("mia", ["lost"]),
        ("missing", ["lost"]),
    ],
)
async def test_hosts_by_status(fleet, admin, names, clock, status, expected):
    await fleet.host("here")
    await fleet.host("slow", seen=timedelta(seconds=200), distributed_interval_seconds=300, config_refresh_seconds=600)
    await fleet.host("away", seen=LONG_AGO)
    await fleet.host("lost", seen=timedelta(days=31), created_at=clock() - timedelta(days=40))

    assert await names(admin, status=status) == expected


async def test_a_host_that_was_never_seen_counts_from_its_creation(ask, fleet, admin, database):
    from flotilla_common.db.models.inventory import HostSeen  # noqa: PLC0415
    from sqlalchemy import delete  # noqa: PLC0415

    host_id = await fleet.host("fresh")
    async with database.sessions().begin() as session:
        await session.execute(delete(HostSeen))

    host = (await ask(admin, f"GET /hosts/{host_id}")).json()["host"]
    assert host["status"] == "online"
    assert host["seen_time"] == host["created_at"]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"os_name": "Ubuntu", "os_version": "22.04.4 LTS"}, ["a"]),
        ({"os_name": "Ubuntu", "os_version": "20"}, []),
        ({"software_id": "1"}, []),
        ({"policy_id": "1", "policy_response": "passing"}, []),
        ({"mdm_enrollment_status": "manual"}, []),
        ({"low_disk_space": "50"}, []),
        ({"vulnerability": "CVE-2024-1"}, []),
        ({"connected_to_fleet": "true"}, []),
        ({"unknown": "1"}, ["a"]),
    ],
)
async def test_filters_select_by_what_is_known(fleet, admin, names, parameters, expected):
    await fleet.host("a", os_name="Ubuntu", os_version="Ubuntu 22.04.4 LTS")

    assert await names(admin, **parameters) == expected


@pytest.mark.parametrize(
    "parameters",
    [
        {"status": "asleep"},
        {"team_id": "x"},
        {"team_id": "99"},
        {"team_id": "9" * 5000},
        {"policy_response": "passing"},
        {"policy_id": "1", "policy_response": "maybe"},
        {"software_id": "1", "software_title_id": "2"},
        {"software_status": "installed"},
        {"os_name": "Ubuntu"},
        {"os_version": "22"},
        {"mdm_enrollment_status": "odd"},
        {"os_settings": "odd"},
        {"bootstrap_package": "odd"},
        {"low_disk_space": "0"},
        {"low_disk_space": "101"},
        {"populate_labels": "yes"},
        {"populate_software": "some"},
        {"device_mapping": "2"},
        {"order_key": "issues", "disable_issues": "true"},
    ],
)
async def test_malformed_filters_are_refused(ask, admin, parameters):
    answer = await ask(admin, "GET /hosts", **parameters)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["reason"]


async def test_lists_add_what_is_asked_for(ask, fleet, admin):
    host_id = await fleet.host("a")
    label_id = await fleet.label("Racks", host_id)

    [plain] = (await ask(admin, "GET /hosts")).json()["hosts"]
    [full] = (
        await ask(
            admin,
            "GET /hosts",
            populate_labels="t",
            populate_software="without_vulnerability_details",
            populate_policies="True",
            populate_users="1",
            device_mapping="true",
        )
    ).json()["hosts"]

    assert not {"labels", "software", "policies", "users", "device_mapping"} & plain.keys()
    assert [label["id"] for label in full["labels"]] == [ALL_HOSTS, label_id]
    assert (full["software"], full["policies"], full["users"], full["device_mapping"]) == ([], [], [], [])


async def test_a_list_has_no_meta_and_hosts_have_all_that_typed_clients_need(ask, fleet, admin, make_team):
    team = await make_team("Servers")
    await fleet.host("db-1", team, computer_name="Books", memory_bytes=8 << 30)

    body = (await ask(admin, "GET /hosts")).json()

    assert body.keys() == {"hosts"}
    [host] = body["hosts"]
    assert (host["display_name"], host["display_text"], host["team_name"]) == ("Books", "db-1", "Servers")
    assert (host["memory"], host["uptime"], host["status"]) == (8 << 30, 0, "online")
    assert host["software_updated_at"] == "0001-01-01T00:00:00Z"
    assert host["seen_time"].endswith("Z")
    assert host["issues"]["total_issues_count"] == 0
    assert host["mdm"]["enrollment_status"] is None
    assert host["pack_stats"] is None
    assert not {"node_key_hash", "node_key", "revision"} & host.keys()


@pytest.fixture
async def teams(fleet, make_team) -> tuple[int, int]:
    """Two teams with a host each (`one`, `two`), and a host without a team (`none`)."""
    first, second = await make_team("First"), await make_team("Second")
    await fleet.host("one", first)
    await fleet.host("two", second)
    await fleet.host("none")
    return first, second


@pytest.mark.parametrize("role", ["admin", "maintainer", "observer_plus", "observer"])
async def test_global_roles_see_every_host(make_user, teams, names, role):
    member = await make_user(role)

    assert await names(member) == ["one", "two", "none"]
    assert await names(member, team_id=str(teams[1])) == ["two"]
    assert await names(member, team_id="0") == ["none"]


@pytest.mark.parametrize("role", ["admin", "maintainer", "observer_plus", "observer"])
async def test_team_roles_see_their_teams_hosts_alone(ask, make_user, teams, names, role):
    member = await make_user(role, teams[0])

    assert await names(member) == ["one"]
    assert await names(member, team_id=str(teams[0])) == ["one"]
    assert await names(member, query="two") == []
    assert (await ask(member, "GET /hosts", team_id=str(teams[1]))).status_code == 403
    assert (await ask(member, "GET /hosts", team_id="0")).status_code == 403
    assert (await ask(member, "GET /hosts", team_id="99")).status_code == 403
    assert (await ask(member, "GET /hosts/count")).json() == {"count": 1}


@pytest.mark.parametrize("scope", ["global", "team"])
@pytest.mark.parametrize("path", ["GET /hosts", "GET /hosts/count", "GET /host_summary", "GET /hosts/1"])
async def test_gitops_lists_no_hosts(ask, make_user, teams, scope, path):
    member = await make_user("gitops", teams[0] if scope == "team" else None, api_only=True)

    assert (await ask(member, path)).status_code == 403


async def test_counts_follow_the_same_filters(ask, fleet, admin, teams):
    label = await fleet.label("Racks", 1, 3)

    async def counted(**parameters: str) -> int:
        return (await ask(admin, "GET /hosts/count", **parameters)).json()["count"]

    assert await counted() == 3
    assert await counted(team_id=str(teams[0])) == 1
    assert await counted(label_id=str(label)) == 2
    assert await counted(label_id=str(label), query="none") == 1
    assert await counted(label_id=str(label), page="5", per_page="1") == 2
    assert (await ask(admin, "GET /hosts/count", label_id="x")).status_code == 400


async def test_without_a_token_there_is_no_list(ask, admin):
    answer = await ask(None, "GET /hosts")

    assert answer.status_code == 401
    assert answer.json()["message"] == "Authorization header required"
