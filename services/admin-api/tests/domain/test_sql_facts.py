"""What SQL touches: whatever way it is written, both readings find it."""

from __future__ import annotations

import pytest
from admin_api.domain.sql_authorizer import touched_by
from admin_api.domain.sql_facts import facts_of
from admin_api.domain.sql_tree import named_tables
from hypothesis import given, settings
from hypothesis import strategies as st

HIDING_PLACES = [
    "SELECT * FROM curl",
    "SELECT count(*) FROM curl",
    "SELECT 1 FROM cUrL",
    'SELECT 1 FROM "curl"',
    "SELECT 1 FROM `CURL`",
    "SELECT 1 FROM [curl]",
    "SELECT 1 FROM 'curl'",
    "SELECT 1 FROM/**/curl",
    "SELECT 1 FROM -- time\n curl",
    "SELECT 1 FROM /* ' */ curl /* ' */",
    "SELECT 1 FROM main.curl",
    'SELECT 1 FROM "temp"."curl"',
    "SELECT t.url FROM curl AS t",
    "SELECT t.url FROM curl t, time",
    "SELECT 1 FROM time, curl",
    "SELECT 1 FROM time JOIN curl ON 1",
    "SELECT 1 FROM time NATURAL LEFT JOIN curl",
    "SELECT 1 FROM (time CROSS JOIN curl)",
    "SELECT 1 FROM (SELECT * FROM (SELECT url FROM curl))",
    "SELECT (SELECT url FROM curl)",
    "SELECT 1 FROM time WHERE EXISTS (SELECT 1 FROM curl)",
    "SELECT 1 FROM time WHERE hour IN (SELECT url FROM curl)",
    "SELECT 1 FROM time ORDER BY (SELECT url FROM curl)",
    "SELECT 1 FROM time LIMIT (SELECT length(url) FROM curl)",
    "SELECT 1 FROM time GROUP BY 1 HAVING (SELECT url FROM curl)",
    "SELECT CASE WHEN 1 THEN (SELECT url FROM curl) END",
    "WITH x AS (SELECT * FROM curl) SELECT * FROM x",
    "WITH time AS (SELECT * FROM curl) SELECT * FROM time",
    "WITH curl AS (SELECT 1) SELECT * FROM main.curl",
    "WITH x AS (WITH y AS (SELECT url FROM curl) SELECT * FROM y) SELECT * FROM x",
    "WITH RECURSIVE x(a) AS (SELECT url FROM curl UNION SELECT a FROM x) SELECT * FROM x",
    "SELECT 1 UNION SELECT url FROM curl",
    "SELECT 1 EXCEPT SELECT url FROM curl",
    "VALUES (1) UNION ALL SELECT url FROM curl",
    "VALUES ((SELECT url FROM curl))",
    "SELECT 1 WHERE 'a' IN curl",
    "SELECT 1 WHERE EXISTS (SELECT (SELECT count(*) FROM curl))",
    "SELECT * FROM curl()",
    "SELECT 1; SELECT * FROM curl",
    "SELECT ';'; ; SELECT * FROM curl;",
    "SELECT * FROM unknown_table, curl",
    "SELECT unknown_function(url) FROM curl",
    "SELECT url FROM curl WHERE url = 'https://a' COLLATE unknown_collation",
    "SELECT * FROM (curl)",
    "SELECT url, row_number() OVER (ORDER BY url) FROM curl",
    "SELECT 1 FROM time WHERE ? = (SELECT url FROM curl)",
]
UNPARSED_BY_SQLGLOT = {"SELECT 1 FROM 'curl'"}
"""What only SQLite takes: its reading is the one that counts."""


@pytest.mark.parametrize("sql", HIDING_PLACES)
def test_a_table_is_found_by_sqlite_wherever_it_hides(sql):
    touched = touched_by(sql)

    assert "curl" in touched.tables


@pytest.mark.parametrize("sql", HIDING_PLACES)
def test_a_table_is_found_in_the_tree_wherever_it_hides(sql):
    named = named_tables(sql)

    assert "curl" in (named or ()) or (named is None and sql in UNPARSED_BY_SQLGLOT)


WRAPPINGS = (
    "SELECT * FROM ({})",
    "SELECT a.one FROM ({}) AS a",
    "WITH x AS ({}) SELECT one FROM x",
    "WITH x(one) AS (SELECT 1 UNION ALL SELECT * FROM ({})) SELECT x.one FROM x",
    "SELECT 1 AS one UNION SELECT * FROM ({})",
    "SELECT ({}) AS one",
    "SELECT hour AS one FROM time WHERE hour IN ({})",
    "SELECT hour AS one FROM time WHERE EXISTS ({})",
    "SELECT 1 AS one FROM time ORDER BY ({})",
    "SELECT CASE WHEN 1 THEN ({}) END AS one",
    "SELECT max(one) AS one FROM ({}) GROUP BY one HAVING one IS NOT NULL",
    "SELECT unknown_function(one) AS one FROM ({}), unknown_table",
)
CORES = (
    "SELECT url AS one FROM curl",
    'SELECT c."URL" AS one FROM [Curl] c',
    "SELECT count(*) AS one FROM/*x*/`curl`",
    "SELECT 1 AS one FROM temp.curl",
    "SELECT one FROM time JOIN (SELECT 1 AS one FROM curl) ON 1",
)


@given(core=st.sampled_from(CORES), wrappings=st.lists(st.sampled_from(WRAPPINGS), max_size=6))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_table_is_found_through_any_nesting(core, wrappings):
    sql = core
    for wrapping in wrappings:
        sql = wrapping.format(sql)

    touched, named = touched_by(sql), named_tables(sql)

    assert touched.unreadable == ""
    assert "curl" in touched.tables
    assert "curl" in (named or ())


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'curl'",
        "SELECT 1 AS curl",
        "SELECT 1 -- FROM curl",
        "SELECT 1 /* FROM curl */",
        "SELECT path AS curl FROM file WHERE path = 'carves'",
        "WITH curl AS (SELECT 1 AS a) SELECT * FROM curl",
        "WITH curl AS (SELECT 1 AS a) SELECT count(*) FROM curl",
        "SELECT curl.pid FROM processes AS curl",
    ],
)
def test_a_word_is_no_table(sql):
    assert "curl" not in facts_of(sql).tables


@pytest.mark.parametrize(
    "sql",
    ["WITH x AS (SELECT * FROM curl) SELECT 1", "SELECT 1 FROM time WHERE 0 AND (SELECT count(*) FROM curl)"],
)
def test_a_table_in_a_part_that_is_never_used_counts(sql):
    assert "curl" in facts_of(sql).tables


COLUMN_PLACES = [
    "SELECT sigurl FROM yara",
    "SELECT y.SigUrl FROM yara y",
    'SELECT "sigurl" FROM yara',
    "SELECT count(*) FROM yara WHERE sigurl = 'https://a'",
    "SELECT 1 FROM yara ORDER BY sigurl",
    "SELECT count(*) FROM yara GROUP BY sigurl",
    "SELECT count(*) FROM (SELECT 'https://a' AS sigurl) JOIN yara USING (sigurl)",
    "SELECT count(*) FROM (SELECT 'https://a' AS sigurl) a LEFT JOIN yara y ON a.sigurl = y.sigurl",
    "SELECT count(*) FROM yara('rule', 'https://a')",
    "SELECT count(*) FROM yara('https://a')",
    "SELECT count(*) FROM yara_file WHERE sigurl = 'https://a'",
    "WITH x AS (SELECT sigurl AS other FROM yara) SELECT other FROM x",
]


@pytest.mark.parametrize("sql", COLUMN_PLACES)
def test_a_column_is_found_wherever_it_hides(sql):
    assert "yara_file.sigurl" in facts_of(sql).columns


@pytest.mark.parametrize("sql", ["SELECT * FROM yara", "SELECT count(*) FROM yara", "SELECT 'sigurl', path FROM yara"])
def test_a_hidden_column_is_not_in_a_star(sql):
    assert "yara_file.sigurl" not in facts_of(sql).columns


def test_old_names_of_tables_and_columns_lead_to_todays():
    facts = facts_of("SELECT environment FROM process_events JOIN configurations")

    assert facts.tables == ("augeas", "process_events")
    assert "process_events.env" in facts.columns


def test_functions_are_known_by_name():
    assert "carve" in facts_of("SELECT CARVE(path) FROM file WHERE path = '/etc/hosts'").functions


@pytest.mark.parametrize(
    ("sql", "change"),
    [
        ("ATTACH 'a.db' AS b", "ATTACH"),
        ("PRAGMA table_info('curl')", "PRAGMA"),
        ("CREATE VIEW v AS SELECT * FROM curl", "CREATE or DROP"),
        ("CREATE TEMP VIEW v AS SELECT * FROM curl", "CREATE or DROP"),
        ("CREATE TABLE t AS SELECT * FROM curl", "CREATE or DROP"),
        ("DELETE FROM file", "DELETE"),
        ("SELECT 1; INSERT INTO file (path) VALUES ('a')", "INSERT"),
        ("DETACH main", "DETACH"),
        ("BEGIN", "TRANSACTION"),
    ],
)
def test_what_does_more_than_read_is_named(sql, change):
    facts = facts_of(sql)

    assert change in facts.changes
    assert facts.unreadable


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM",
        "SELEC 1",
        "SELECT 'a",
        "SELECT 'a\0', url FROM curl",
        "SELECT '\ud800'",
        "SELECT 1 FROM nosuch.curl",
    ],
)
def test_what_sqlite_does_not_take_is_unreadable_and_says_why(sql):
    facts = facts_of(sql)

    assert facts.unreadable
    assert facts.warnings == (f"no host may be able to run this: {facts.unreadable}",)


def test_what_a_host_may_have_beside_osquery_is_readable():
    facts = facts_of("SELECT e.a, parse(e.b), uid FROM extension e JOIN users USING (uid) WHERE e.c MATCH 'x'")

    assert (facts.unreadable, facts.tables, facts.warnings) == ("", ("extension", "users"), ())


def test_a_column_that_osquery_does_not_have_is_told():
    facts = facts_of("SELECT nope, uid FROM users")

    assert facts.unreadable == ""
    assert facts.warnings == ("osquery's tables in this query have no column nope: hosts answer an error",)


UNGIVEN = "file is asked for without directory or path in a WHERE or JOIN: hosts answer no rows from it"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM file",
        "SELECT * FROM file WHERE size > 5",
        "SELECT * FROM file a JOIN file b WHERE a.path = '/etc'",
    ],
)
def test_file_without_a_path_warns(sql):
    assert facts_of(sql).warnings == (UNGIVEN,)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM file WHERE path = '/etc/hosts'",
        "SELECT * FROM file WHERE directory LIKE '/etc/%'",
        "SELECT * FROM file WHERE path IN ('/a', '/b') OR path = '/c'",
        "SELECT sha256 FROM hash JOIN processes USING (path)",
        "SELECT sha256 FROM processes p JOIN hash h ON h.path = p.path",
        "SELECT (SELECT sha256 FROM hash WHERE path = p.path) FROM processes p",
    ],
)
def test_file_and_hash_with_a_path_do_not_warn(sql):
    assert facts_of(sql).warnings == ()


def test_hash_and_evented_tables_warn():
    warnings = facts_of("SELECT sha256 FROM hash, process_events").warnings

    assert [warning.split(" ", 2)[0] for warning in warnings] == ["process_events", "hash"]
    assert "evented" in warnings[0]
