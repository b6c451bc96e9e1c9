"""Results of a live query that has ended: what live-query moves to the blob store is what people read over REST."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from flotilla_common.testing.waiting import eventually
from flotilla_stack.testing import RunningStack

from .machines import Machine, Machines
from .people import API, Person

ROWS = [{"path": "/tmp/ü 1", "size": "12"}, {"path": "=1+1", "size": ""}, {"path": 'a,"b"\nc', "extra": "x" * 5_000}]


async def answered(admin: Person, machine: Machine) -> int:
    """Run a live query on a host, which answers it; return its id."""

    async def known() -> list[int]:
        return [host["id"] for host in await admin.hosts() if host["hostname"] == machine.identifier]

    async def asked() -> dict[str, str]:
        queries: dict[str, str] = (await machine.post("/distributed/read", {"node_key": machine.node_key}))["queries"]
        return {name: sql for name, sql in queries.items() if name.startswith("fleet_distributed_query_")}

    campaign_id = await admin.run("SELECT path, size FROM file", hosts=await eventually(known, timeout=30))
    [name] = await eventually(asked, timeout=30)
    body = {"node_key": machine.node_key, "queries": {name: ROWS}, "statuses": {name: 0}}
    assert await machine.post("/distributed/write", body) == {}
    return campaign_id


async def results_of(admin: Person, campaign_id: int) -> dict[str, Any] | None:
    """Return a page of results once the live query is complete."""
    page: dict[str, Any] = (await admin.call("GET", f"/campaigns/{campaign_id}/results"))["results"]
    return page if page["status"] == "complete" and page["rows"] else None


async def test_what_was_archived_is_read_over_rest(
    admin: Person, machines: Machines, stack: RunningStack, tmp_path: Path
) -> None:
    _, secret = await admin.team("Archived", mode="merge", options={})
    async with machines.machine("archived-1") as machine:
        await machine.enroll(secret)
        campaign_id = await answered(admin, machine)
    path = f"/campaigns/{campaign_id}/results"
    before = await eventually(lambda: results_of(admin, campaign_id), timeout=30)
    folder = stack.home / "blobs" / "campaigns" / str(campaign_id)

    async def is_archived() -> bool:
        return folder.exists() and any(one.is_file() for one in folder.rglob("*"))

    async def has_no_other_source() -> bool:
        return (await admin.client.get(API + path)).status_code == 503

    await eventually(is_archived, timeout=60)
    aside = folder.rename(tmp_path / "aside")
    await eventually(has_no_other_source, timeout=30)
    aside.rename(folder)
    after = (await admin.call("GET", path))["results"]
    exported = (await admin.call("GET", f"{path}/export", format="json"))["results"]
    table = (await admin.client.get(f"{API}{path}/export", params={"format": "csv"})).text
    paths = [row["path"] for row in csv.DictReader(io.StringIO(table))]

    assert [row["columns"] for row in before["rows"]] == ROWS
    assert after["rows"] == before["rows"]
    assert exported["rows"] == before["rows"]
    assert paths == [ROWS[0]["path"], "'=1+1", ROWS[2]["path"]]
