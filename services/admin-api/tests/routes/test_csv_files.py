"""CSV files hold no formulas and no column twice, whatever hosts say."""

from __future__ import annotations

import time

import pytest
from admin_api.routes.csv_files import Header, cell


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("@x", "'@x"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-1+cmd()", "'-1+cmd()"),
        (" =1+1", " '=1+1"),
        ("\u00a0\u200b=1+1", "\u00a0\u200b'=1+1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("\tx", "'\tx"),
        ("\t=1", "\t'=1"),
        ("x;=HYPERLINK(1)", "x;'=HYPERLINK(1)"),
        ('x; "=1', "x; \"'=1"),
        ("x\ty\n@y|-z", "x\ty\n'@y|'-z"),
        ("-5", "-5"),
        ("+1.5e-3", "+1.5e-3"),
        ("-1,5;-2", "-1,5;-2"),
        ("-5;=1", "-5;'=1"),
        ("-5-3", "'-5-3"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("a=b;c", "a=b;c"),
        ("x;", "x;"),
        ("", ""),
        (None, ""),
        (True, "true"),
        (-7, "-7"),
    ],
)
def test_what_a_spreadsheet_may_run_has_an_apostrophe_before_it(value, shown):
    assert cell(value) == shown


@pytest.mark.parametrize("text", ["\t" * 1_000_000 + "=", ";" * 300_000 + "=", "-" + "1" * 1_000_000 + "x"])
def test_long_values_take_their_length(text):
    began = time.process_time()

    assert cell(text).count("'") == 1
    assert time.process_time() - began < 3.0


def test_no_name_stands_over_two_columns():
    header = Header(["host_id", "hostname"])

    shown = [header.name(name) for name in ["columns.hostname", "hostname", " Host_ID", "=1", "'=1", "port"]]

    assert shown == ["columns.hostname", "columns.columns.hostname", "columns. Host_ID", "'=1", "columns.'=1", "port"]
