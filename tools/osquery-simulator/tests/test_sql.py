"""The tables of a host and the SQL it runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from osquery_simulator import constraints, identity, profiles, template
from osquery_simulator.overlay import View
from osquery_simulator.sql import QueryResult, SqlEngine
from osquery_simulator.sql_functions import compare_versions
from osquery_simulator.testing import VirtualClock


@pytest.fixture
def engine() -> Iterator[SqlEngine]:
    made = SqlEngine(threads=1, limit_seconds=60)
    yield made
    made.close()


def view(profile: str = "ubuntu", index: int = 1) -> View:
    return View(identity.make("s", index, profile), profiles.load(profile))


async def rows(engine: SqlEngine, sql: str, host: View | None = None) -> list[dict[str, str]]:
    result: QueryResult = await engine.run(host or view(), sql)
    assert result.error == ""
    return result.text_rows()


async def test_values_are_texts_as_osquery_writes_them(engine: SqlEngine) -> None:
    sql = "SELECT 1 AS i, 1.5 AS d, NULL AS n, 'txt' AS t, x'414200ff' AS b, 'é☃' AS u, '' AS e"

    assert await rows(engine, sql) == [{"i": "1", "d": "1.5", "n": "", "t": "txt", "b": "AB", "u": "é☃", "e": ""}]


async def test_columns_keep_the_order_of_the_select_and_the_last_of_one_name_wins(engine: SqlEngine) -> None:
    assert [list(row) for row in await rows(engine, "SELECT 1 AS Zed, 2 AS alpha")] == [["Zed", "alpha"]]
    assert await rows(engine, "SELECT 1 AS a, 2 AS a") == [{"a": "2"}]


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELEC 1;", 'near "SELEC": syntax error'),
        ("SELECT * FROM disk_nothing", "no such table: disk_nothing"),
        ("SELECT nope FROM time", "no such column: nope"),
        ("DROP TABLE users", "not authorized"),
        ("DELETE FROM mounts", "not authorized"),
        ("DELETE FROM users", "cannot modify users because it is a view"),
        ("INSERT INTO time VALUES (1)", "not authorized"),
        ("ATTACH '/tmp/x' AS y", "not authorized"),
        ("PRAGMA writable_schema = 1", "not authorized"),
    ],
)
async def test_errors_are_sqlites_own_and_nothing_can_be_written(engine: SqlEngine, sql: str, error: str) -> None:
    assert (await engine.run(view(), sql)).error == error


async def test_a_query_without_end_is_stopped() -> None:
    engine = SqlEngine(threads=1, limit_seconds=0.1)
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
    result = await engine.run(view(), endless)

    engine.close()

    assert result.error == "interrupted"


@pytest.mark.parametrize(("profile", "count"), [("ubuntu", 159), ("rhel", 159), ("macos", 188), ("windows", 116)])
async def test_every_profile_has_every_table_of_its_platform(engine: SqlEngine, profile: str, count: int) -> None:
    host = view(profile)
    tables = [name for name, entry in template.schema().items() if host.profile.platform in entry["platforms"]]
    failed = [name for name in tables if (await engine.run(host, f"SELECT * FROM {name} LIMIT 1")).error]

    assert failed == [name for name in tables if name in constraints.required()]
    assert len(tables) == count  # as many as osquery's specifications have for that platform


async def test_some_tables_want_to_be_told_what_to_look_at(engine: SqlEngine) -> None:
    said = "Table file was queried without a required column in the WHERE clause"

    assert (await engine.run(view(), "SELECT size FROM file WHERE size > 3")).error == said
    assert (await engine.run(view(), "SELECT * FROM file WHERE path LIKE '/etc/%'")).error == ""
    assert (await engine.run(view(), "SELECT hash.md5 FROM users JOIN hash ON path = shell")).error == ""
    assert (await engine.run(view(), "SELECT 1 AS file FROM time")).error == ""


async def test_tables_of_other_platforms_are_missing(engine: SqlEngine) -> None:
    assert (await engine.run(view("ubuntu"), "SELECT * FROM registry")).error == "no such table: registry"
    assert (await engine.run(view("windows"), "SELECT * FROM deb_packages")).error == "no such table: deb_packages"


async def test_hosts_of_one_profile_share_most_rows_and_differ_in_some(engine: SqlEngine) -> None:
    one, other = view(index=1), view(index=2)
    sql = "SELECT name, version FROM deb_packages"
    packages = {str(row) for row in await rows(engine, sql, one)}, {str(row) for row in await rows(engine, sql, other)}
    names = [await rows(engine, "SELECT hostname, uuid FROM system_info", host) for host in (one, other)]

    assert len(packages[0] & packages[1]) > 50
    assert packages[0] != packages[1]
    assert names[0] != names[1]


async def test_joins_over_shared_and_own_tables_work(engine: SqlEngine) -> None:
    sql = "SELECT u.username, s.uuid FROM users u, system_info s WHERE u.uid IN (0, 1000) ORDER BY u.uid"
    host = view()

    assert [row["username"] for row in await rows(engine, sql, host)] == ["root", host.identity.user]


async def test_time_and_uptime_are_alive(engine: SqlEngine) -> None:
    host = view()
    host.clock = VirtualClock(unix=1_795_492_561.0)
    host.met_at = 1_795_492_461.0
    [row] = await rows(engine, "SELECT unix_time, total_seconds FROM time, uptime", host)

    assert int(row["unix_time"]) == 1_795_492_561
    assert int(row["total_seconds"]) - host.identity.uptime_seconds == 100


async def test_osquerys_own_functions_are_there(engine: SqlEngine) -> None:
    sql = (
        "SELECT split('a,b,,c', ',', 2) AS s, regex_match('v1.2', 'v(\\d+)', 1) AS r, "
        "concat_ws('-', 'a', NULL, 'b') AS c, sha1('x') AS h, from_base64(to_base64('hi')) AS b, "
        "inet_aton('10.0.0.1') AS i, version_compare('1.10', '1.9') AS v"
    )
    [row] = await rows(engine, sql)

    assert (row["s"], row["r"], row["c"], row["b"], row["v"]) == ("c", "1", "a-b", "hi", "1")
    assert row["i"] == "167772161"
    assert row["h"] == "11f6ad8ec52a2984abaafd7c3b516503785c2072"


async def test_versions_compare_by_their_numbers(engine: SqlEngine) -> None:
    assert compare_versions("5.9.0", "5.23.0") < 0
    assert compare_versions("1.0", "1.0") == 0
    assert compare_versions("1.0.1", "1.0") > 0
    assert await rows(engine, "SELECT name FROM os_version WHERE version > '9'") == [{"name": "Ubuntu"}]


async def test_aggregates_over_profiles_do_not_leak_between_hosts(engine: SqlEngine, tmp_path: Path) -> None:
    for index in range(5):
        host = view("rhel", index)
        [row] = await rows(engine, "SELECT hostname, count(*) AS n FROM system_info", host)

        assert row == {"hostname": host.identity.hostname, "n": "1"}
