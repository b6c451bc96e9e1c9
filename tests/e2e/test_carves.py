"""A file of each host: asked for by a live query, sent in blocks, read block by block and as a whole."""

from __future__ import annotations

import base64
import io
import tarfile
from typing import Any

from flotilla_common.testing.waiting import eventually

from .machines import Machines
from .people import API, Person

HOSTS = 3
PATH = "/var/log/sample.log"
SQL = f"SELECT carve_guid, status, path FROM carves WHERE carve = 1 AND path = '{PATH}'"
FASTER = 0.1  # carves begin at full minutes: so the minutes of these hosts have 6 s
BLOCK = 16_384
FLAGS = {"distributed_interval": 20, "config_refresh": 600, "carver_block_size": BLOCK}


async def online(admin: Person, team_id: int, number: int) -> list[dict[str, Any]]:
    """Return a team's hosts once all have come in."""

    async def all_here() -> list[dict[str, Any]]:
        found = await admin.hosts(team_id=team_id, status="online")
        assert len(found) == number, f"{len(found)} hosts"
        return found

    found: list[dict[str, Any]] = await eventually(all_here, timeout=60)
    return found


async def complete_carves(admin: Person, host_ids: set[int]) -> list[dict[str, Any]]:
    """Return the carves of these hosts once all of them are complete, as command line clients judge it."""

    async def complete() -> list[dict[str, Any]]:
        listed = (await admin.call("GET", "/carves"))["carves"] or []
        found = [carve for carve in listed if carve["host_id"] in host_ids]
        assert {carve["host_id"] for carve in found} == host_ids
        assert all(carve["max_block"] == carve["block_count"] - 1 for carve in found), found
        return found

    found: list[dict[str, Any]] = await eventually(complete, timeout=90)
    return found


async def blocks_of(admin: Person, carve: dict[str, Any]) -> bytes:
    """Fetch all blocks one after another, as command line clients do."""
    answers = [
        await admin.call("GET", f"/carves/{carve['id']}/block/{number}") for number in range(carve["block_count"])
    ]
    return b"".join(base64.b64decode(answer["data"], validate=True) for answer in answers)


async def test_a_file_of_each_host_comes_by_a_live_query(admin: Person, machines: Machines) -> None:
    team_id, secret = await admin.team("Carved", mode="merge", options={})
    with machines.fleet("carved", secret, hosts=HOSTS, interval_scale=FASTER, **FLAGS):
        hosts = {host["id"]: host for host in await online(admin, team_id, HOSTS)}
        campaign_id = await admin.run(SQL, hosts=list(hosts))
        watched = await admin.watch(campaign_id)
        carves = await complete_carves(admin, set(hosts))
        content = {carve["host_id"]: await blocks_of(admin, carve) for carve in carves}
        files = [await admin.client.get(f"{API}/carves/{carve['id']}/download") for carve in carves]

    guids = {result["host"]["id"]: result["rows"][0]["carve_guid"] for result in watched.results}
    assert {result["rows"][0]["status"] for result in watched.results} == {"SCHEDULED"}
    assert {carve["host_id"]: carve["carve_id"] for carve in carves} == guids
    for carve, file in zip(carves, files, strict=True):
        hostname = hosts[carve["host_id"]]["hostname"]
        assert (carve["campaign_id"], carve["error"], carve["expired"]) == (campaign_id, None, False)
        assert carve["block_count"] > 1
        assert len(content[carve["host_id"]]) == carve["carve_size"]
        assert file.content == content[carve["host_id"]]
        assert f'filename="{hostname}-' in file.headers["content-disposition"]
        with tarfile.open(fileobj=io.BytesIO(file.content)) as archive:
            [member] = archive.getmembers()
            extracted = archive.extractfile(member)
            assert extracted is not None
            lines = extracted.read().decode().splitlines()
        assert member.name == PATH.lstrip("/")
        assert lines == [f"{PATH} on {hostname}, line {number}" for number in range(1000)]


async def test_a_compressed_carve_is_downloaded_as_such(admin: Person, machines: Machines) -> None:
    team_id, secret = await admin.team("Carved in zstd", mode="merge", options={})
    with machines.fleet("zstd", secret, hosts=1, interval_scale=FASTER, **FLAGS, carver_compression=True):
        [host] = await online(admin, team_id, 1)
        await admin.run(SQL, hosts=[host["id"]])
        [carve] = await complete_carves(admin, {host["id"]})
        file = await admin.client.get(f"{API}/carves/{carve['id']}/download")

    assert carve["format"] == "zstd"
    assert file.content.startswith(b"\x28\xb5\x2f\xfd")
    assert file.headers["content-disposition"].endswith('.tar.zst"')


async def test_a_host_that_was_not_asked_sends_nothing(admin: Person, machines: Machines) -> None:
    _, secret = await admin.team("Not asked", mode="merge", options={})
    begin = {"block_count": 1, "block_size": 10, "carve_size": 5, "carve_id": "x", "request_id": "y"}
    async with machines.machine("e2e-carver") as machine:
        await machine.enroll(secret)
        answer = await machine.post("/carve/begin", {**begin, "node_key": machine.node_key})

    assert answer["error"] == "carve_unasked"
