"""Reading SQL in processes of their own: hostile texts cost a bounded time, and a child at most."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from admin_api.domain import sql_reader as module
from admin_api.domain.sql_reader import TOO_HARD, SqlReader
from flotilla_common.errors import Unavailable
from flotilla_common.testing.waiting import eventually

JOINS = 40
HOSTILE = {
    "doubling": "WITH a0 AS (SELECT 1 AS x)"
    + "".join(f", a{n} AS (SELECT p.x FROM a{n - 1} p, a{n - 1} q)" for n in range(1, JOINS))
    + f" SELECT * FROM a{JOINS - 1}",
    "statements": "SELECT 1 FROM file;" * 5_000,
    "semicolons": ";" * 99_000,
    "parentheses": "SELECT " + "(" * 45_000 + "1" + ")" * 45_000,
    "subqueries": "SELECT * FROM " + "(SELECT * FROM " * 5_000 + "time" + ")" * 5_000,
    "functions": "SELECT " + ", ".join(f"f{n}(1)" for n in range(5_000)),
    "columns": "SELECT " + ", ".join(f"c{n}" for n in range(5_000)) + " FROM extension",
    "joins": "SELECT * FROM " + ", ".join(f"file f{n}" for n in range(64)),
    "unions": "SELECT 1" + " UNION SELECT 1" * 6_000,
    "casts": "SELECT " + "CAST(" * 5_000 + "1" + " AS INT)" * 5_000,
    "cases": "SELECT " + "CASE WHEN 1 THEN " * 3_000 + "1" + " END" * 3_000,
    "comments": "/*" * 45_000,
    "quotes": "SELECT " + "'" * 90_001,
    "zero": "SELECT 1 \0 FROM curl",
    "surrogate": "SELECT '\udcff' FROM curl",
    "recursion": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n, n, n",
    "blob": "SELECT zeroblob(1000000000), randomblob(1000000000), printf('%.*c', 1000000000, 'x')",
}
SECONDS = 40  # what a child may take by the clock, and its successor, on a machine that is busy


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_sql_is_settled_in_bounded_time_and_the_next_is_read(sql_reader, name):
    begun = time.monotonic()
    await sql_reader.read(HOSTILE[name])
    took = time.monotonic() - begun
    after = await sql_reader.read(f"SELECT '{name}' FROM time")

    assert took < SECONDS
    assert (after.tables, after.unreadable) == (("time",), "")


async def test_what_takes_its_readers_second_is_unreadable(sql_reader):
    facts = await sql_reader.read("SELECT * FROM file a,file b,file c,file d;" * 2_300)  # about 4 s

    assert (facts.unreadable, facts.warnings) == (TOO_HARD, (f"it was not checked: {TOO_HARD}",))


async def test_a_reader_that_is_killed_is_replaced():
    reader = SqlReader()
    await reader.read("SELECT 1")
    for process_id in reader.process_ids():
        os.kill(process_id, signal.SIGKILL)

    facts = await reader.read("SELECT 1 FROM curl")
    reader.close()

    assert (facts.tables, facts.unreadable) == (("curl",), "")


async def test_children_hold_no_secrets_and_end_with_their_owner(monkeypatch):
    monkeypatch.setenv("FLOTILLA_SECRETS_KEY", "top-secret")
    reader = SqlReader()
    await reader.read("SELECT 1")
    [process_id] = reader.process_ids()

    with open(f"/proc/{process_id}/environ", "rb") as environment:  # noqa: ASYNC230, PTH123 - of the kernel
        assert environment.read() == b""
    reader.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process_id, 0)


async def test_too_many_texts_at_once_are_turned_away(sql_reader, monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 3)

    found = await asyncio.gather(
        *(sql_reader.read(f"SELECT 'crowd', {number}") for number in range(10)), return_exceptions=True
    )

    assert [type(answer) for answer in found].count(Unavailable) == 7


async def test_who_holds_a_connection_waits_for_few(sql_reader, monkeypatch):
    monkeypatch.setattr(module, "MOST_HOLDING", 2)

    found = await asyncio.gather(
        *(sql_reader.read(f"SELECT 'first', {number}") for number in range(2)),
        sql_reader.read("SELECT 'holding'", holding=True),
        sql_reader.read("SELECT 'patient'"),
        return_exceptions=True,
    )

    assert [isinstance(answer, Unavailable) for answer in found] == [False, False, True, False]


async def test_what_is_remembered_is_bounded(sql_reader, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED_CHARACTERS", 1_000)

    for number in range(30):
        await sql_reader.read(f"SELECT {number}, * FROM processes")

    assert len(sql_reader._known) <= 3


OWNER = """
import asyncio, os, sys
from admin_api.domain.sql_reader import SqlReader
reader = SqlReader()
asyncio.run(reader.read("SELECT 1"))
print(*reader.process_ids(), flush=True)
sys.stdin.read()
"""


async def test_children_end_when_their_owner_is_killed():
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    child = int(await owner.stdout.readline())
    owner.kill()
    await owner.communicate()

    await eventually(lambda: not is_alive(child))


def is_alive(process_id: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


async def test_what_was_read_is_remembered(monkeypatch):
    reader = SqlReader()
    first = await reader.read("SELECT 1 FROM curl")
    reader.close()

    assert await reader.read("SELECT 1 FROM curl") is first
