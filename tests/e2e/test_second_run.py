"""A second `make run` finds everything as it was, and as people have changed it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from flotilla_common.testing.waiting import eventually
from flotilla_stack.testing import RunningStack

from . import people, readme
from .shipped import Shipped

HOSTS = 4
STOP_SECONDS = 10
NEW_PASSWORD = "chosen-By-Ada-1815"


async def settled(stack: RunningStack) -> None:
    """Wait until all hosts are online and have sent logs."""
    dev = stack.dev()
    shipped = Shipped(Path(dev["log_directory"]), dev["s3"])
    async with people.person(dev["url"], dev["ca_file"], dev["admin"]["token"]) as admin:

        async def all_online() -> bool:
            return len(await admin.hosts(status="online")) == HOSTS

        await eventually(all_online, timeout=60)
        await eventually(lambda: shipped.result_bytes() > 0 and shipped.object_names(), timeout=60)


async def things(stack: RunningStack) -> dict[str, Any]:
    """Return what people made, which hosts there are, and what was shipped."""
    dev = stack.dev()
    shipped = Shipped(Path(dev["log_directory"]), dev["s3"])
    async with people.person(dev["url"], dev["ca_file"], dev["admin"]["token"]) as admin:
        return {
            "hosts": {host["uuid"]: (host["id"], host["last_enrolled_at"]) for host in await admin.hosts()},
            "teams": {host["id"]: host["team_id"] for host in await admin.hosts()},
            "team_names": [team["name"] for team in (await admin.call("GET", "/teams"))["teams"]],
            "queries": sorted(query["name"] for query in (await admin.call("GET", "/queries"))["queries"]),
            "config": await admin.call("GET", "/config"),
            "users": sorted(user["email"] for user in (await admin.call("GET", "/users"))["users"]),
            "enroll_secret": dev["enroll_secret"],
            "bytes": shipped.result_bytes(),
            "objects": shipped.object_names(),
        }


async def change_things(stack: RunningStack) -> None:
    """Remove and rename what the seed made, and choose another password."""
    dev = stack.dev()
    async with people.person(dev["url"], dev["ca_file"], dev["admin"]["token"]) as admin:
        queries = {query["name"]: query["id"] for query in (await admin.call("GET", "/queries"))["queries"]}
        await admin.call("DELETE", f"/queries/id/{queries['Uptime']}")
        await admin.call("PATCH", f"/queries/{queries['Local users']}", {"name": "Accounts"})
        [team] = [team for team in (await admin.call("GET", "/teams"))["teams"] if team["name"] == "Workstations"]
        await admin.call("PATCH", f"/teams/{team['id']}", {"name": "Desks"})
        passwords = {"old_password": dev["admin"]["password"], "new_password": NEW_PASSWORD}
        await admin.call("POST", "/change_password", passwords)


def walk(stack: RunningStack) -> dict[str, tuple[int, str]]:
    """Type what the README tells a new user to, where it says so."""
    url = stack.dev()["url"]
    commands = readme.curl_commands("A first walk")
    return {command: readme.run(command, stack.home.parent, url) for command in commands}


def live_query(home: Path) -> list[str]:
    """Run the README's example and return what it prints, a line for each row."""
    script = Path(__file__).parents[2] / "tools" / "live_query.py"
    command = [sys.executable, str(script), "--home", str(home), "SELECT version FROM osquery_info"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def first_row_alone(home: Path) -> tuple[int, str]:
    """Run the example as behind `head -1`; return its status and what it said beside the row."""
    script = Path(__file__).parents[2] / "tools" / "live_query.py"
    command = [sys.executable, str(script), "--home", str(home), "SELECT version FROM osquery_info"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline()
        running.stdout.close()
        words = running.stderr.read()
        return running.wait(90), words


async def test_the_readme_works_and_a_second_run_finds_everything_as_people_left_it(tmp_path: Path) -> None:
    home = tmp_path / ".flotilla"
    with RunningStack(home, "--hosts", str(HOSTS)) as first:
        await settled(first)
        walked = await asyncio.to_thread(walk, first)
        rows = await asyncio.to_thread(live_query, home)
        status_unread, words_unread = await asyncio.to_thread(first_row_alone, home)
        await change_things(first)
        before = await things(first)
        begun = time.monotonic()
        status = first.stop()
        seconds = time.monotonic() - begun
    with RunningStack(home, "--hosts", str(HOSTS)) as second:
        await settled(second)
        after = await things(second)
        password = second.dev()["admin"]["password"]
        hosts = await asyncio.to_thread(readme.run, next(iter(walked)), home.parent, second.dev()["url"])

    assert len(walked) >= 6
    assert (status_unread, "broke" in words_unread, "Exception" in words_unread) == (0, False, False), words_unread
    assert len({row.split()[0] for row in rows}) == HOSTS
    assert {command: answer for command, answer in walked.items() if answer[0] != 200} == {}
    assert (before["teams"][1], before["teams"][2]) == (2, 2)
    assert "Listening ports" in before["queries"]
    assert status == 0
    assert seconds < STOP_SECONDS
    for name in set(before) - {"bytes", "objects"}:
        assert after[name] == before[name], name
    assert after["bytes"] >= before["bytes"]
    assert after["objects"] >= before["objects"]
    assert (password, "the one that you chose" in second.said) == ("", True)
    assert hosts[0] == 200
