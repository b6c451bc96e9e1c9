"""A second `make run` finds everything as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flotilla_common.testing.waiting import eventually
from flotilla_stack.testing import RunningStack

from . import people
from .shipped import Shipped

HOSTS = 4


async def things(stack: RunningStack) -> dict[str, Any]:
    """Return what people made and which hosts there are, once all hosts are online and have sent logs."""
    dev = stack.dev()
    shipped = Shipped(Path(dev["log_directory"]), dev["s3"])
    async with people.person(dev["url"], dev["ca_file"], dev["admin"]["token"]) as admin:

        async def all_online() -> list[dict[str, Any]]:
            found = await admin.hosts(status="online")
            assert len(found) == HOSTS
            return found

        hosts = await eventually(all_online, timeout=60)
        await eventually(lambda: shipped.result_bytes() > 0 and shipped.object_names(), timeout=60)
        return {
            "hosts": {host["uuid"]: (host["id"], host["last_enrolled_at"]) for host in hosts},
            "teams": [team["name"] for team in (await admin.call("GET", "/teams"))["teams"]],
            "queries": [query["name"] for query in (await admin.call("GET", "/queries"))["queries"]],
            "config": await admin.call("GET", "/config"),
            "admin": dev["admin"]["password"],
            "enroll_secret": dev["enroll_secret"],
            "bytes": shipped.result_bytes(),
            "objects": shipped.object_names(),
        }


async def test_a_second_run_finds_everything_as_it_was(tmp_path: Path) -> None:
    home = tmp_path / "flotilla"
    with RunningStack(home, "--hosts", str(HOSTS)) as first:
        before = await things(first)
        status = first.stop()
    with RunningStack(home, "--hosts", str(HOSTS)) as second:
        after = await things(second)

    assert status == 0
    for name in ("hosts", "teams", "queries", "config", "admin", "enroll_secret"):
        assert after[name] == before[name]
    assert after["bytes"] >= before["bytes"]
    assert after["objects"] >= before["objects"]
