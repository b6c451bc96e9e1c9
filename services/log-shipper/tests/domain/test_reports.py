"""Lines become snapshots, and snapshots the rows of a report."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from flotilla_common.contracts.logs import Manifest, Segment
from log_shipper.domain import reports
from log_shipper.domain.messages import open_message
from log_shipper.domain.report_lines import AHEAD_SECONDS, Skipped, Snapshot, rows_of, snapshots_of
from log_shipper.domain.reports import Report, Rows, clipped, merged
from log_shipper.names import saved_query_of
from log_shipper.store.stream import StoredMessage

RECEIVED = 1_795_514_400  # Unix time, s


def found_in(*lines: bytes, wanted: tuple[tuple[int, str], ...] = ((0, "ports"),)) -> tuple[list[Snapshot], Skipped]:
    body = b"".join(line + b"\n" for line in lines)
    manifest = Manifest(1, "result", [Segment(7, 0, RECEIVED * 1000, len(lines), len(body))])
    data = msgspec.json.encode(manifest) + b"\n" + body
    message = StoredMessage(1, datetime.now(UTC), "logs.result.v1.3", len(lines), data)
    skipped = Skipped()
    found = list(snapshots_of(open_message(message), lambda team_id, name: (team_id, name) in wanted, skipped))
    return found, skipped


def line(**members: object) -> bytes:
    usual = {"name": "pack/Global/ports", "action": "snapshot", "unixTime": RECEIVED - 5, "counter": 3}
    return msgspec.json.encode(usual | members)


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("pack/Global/ports", (0, "ports")),
        ("pack_Global_ports", (0, "ports")),
        ("pack::Global::ports", (0, "ports")),
        ("pack/team-12/ports", (12, "ports")),
        ("pack--team-12--open-ports", (12, "open-ports")),
        ("pack/Global/a/Global/b", (0, "a/Global/b")),
        ("packGGlobalGports", (0, "ports")),
        ("packlGloballports", (0, "ports")),
        ("pack/Global/line\nbreak", (0, "line\nbreak")),
        ("pack/Global_ports", None),
        ("packGlobalports", None),
        ("pack/Global/", None),
        ("pack/baseline/ports", None),
        ("pack/team-x/ports", None),
        ("ports", None),
        ("", None),
    ],
)
def test_a_name_says_which_saved_query_it_is_of_whatever_the_delimiter(name, query):
    assert saved_query_of(name) == query


def test_a_snapshot_of_one_line_is_whole():
    [found], skipped = found_in(line(snapshot=[{"port": "22", "address": "::"}, {"port": "80", "address": "::"}]))

    assert found.is_whole
    assert found.key == (RECEIVED - 5) << 32 | 3
    assert found.rows == [b'{"address":"::","port":"22"}', b'{"address":"::","port":"80"}']
    assert (skipped.others, skipped.invalid) == (0, 0)


def test_events_of_one_execution_are_one_snapshot():
    found, _ = found_in(
        line(columns={"port": "22"}),
        line(columns={"port": "80"}, counter=4),
        line(columns={"port": "443"}),
    )

    assert [(one.key & 0xFFFF, one.rows, one.is_whole) for one in found] == [
        (3, [b'{"port":"22"}', b'{"port":"443"}'], False),
        (4, [b'{"port":"80"}'], False),
    ]


def test_numbers_become_strings_digit_for_digit():
    rows = rows_of(b'[{"a": 1.0, "b": 12345678901234567890123, "c": 1e999, "d": null, "e": true, "f": "x", "g": [1]}]')

    assert msgspec.json.decode(rows[0]) == {
        "a": "1.0", "b": "12345678901234567890123", "c": "1e999", "d": "", "e": "true", "f": "x", "g": "[1]",
    }  # fmt: skip


def test_what_makes_no_sense_is_counted_and_harms_no_other_line():
    found, skipped = found_in(
        b'{"snapshot"',
        line(snapshot="no rows"),
        line(snapshot=[1]),
        b'{"name": "pack/Global/ports", "snapshot": [{"a": "\xff"}]}',
        b'{"name": "pack/Global/ports", "snapshot": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"name": ["pack/Global/ports"], "snapshot": []}',
        line(snapshot=[]),
    )

    assert [one.rows for one in found] == [[]]
    assert skipped.invalid == 6


def test_other_lines_are_passed_over():
    found, skipped = found_in(
        line(action="added", columns={"word": "snapshot"}),
        line(action="added", columns={"port": "22"}),
        line(name="pack/Global/unknown", snapshot=[]),
        line(name="pack/team-9/ports", snapshot=[]),
    )

    assert found == []
    assert skipped == Skipped(others=4)


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        (RECEIVED - 86_400, RECEIVED - 86_400),
        (str(RECEIVED - 1), RECEIVED - 1),
        (RECEIVED + AHEAD_SECONDS, RECEIVED + AHEAD_SECONDS),
        (RECEIVED + AHEAD_SECONDS + 1, RECEIVED),
        (2**80, RECEIVED),
        (0, RECEIVED),
        (-5, RECEIVED),
        ("soon", RECEIVED),
        (1e300, RECEIVED),
    ],
)
def test_a_clock_that_cannot_be_right_is_not_believed(told, kept):
    [found], _ = found_in(line(snapshot=[], unixTime=told, counter="7"))

    assert found.key == kept << 32 | 7


def snapshot(key: int, *rows: bytes, is_whole: bool = True) -> Snapshot:
    return Snapshot(0, "ports", 7, 0, RECEIVED * 1000, key, list(rows), is_whole)


def test_the_newest_snapshot_replaces_all_and_one_that_comes_late_nothing():
    report = Report(rows=Rows())

    assert report.take(snapshot(5, b"a", b"b"), 10)
    assert not report.take(snapshot(4, b"c"), 10)
    assert report.rows == Rows((b"a", b"b"))
    assert report.take(snapshot(6), 10)
    assert report.rows == Rows()


def test_events_that_come_apart_are_added_and_those_that_come_again_are_not():
    report = Report(rows=Rows())
    for rows in ([b"a", b"a"], [b"b"], [b"a", b"a"], [b"a", b"a", b"b", b"c"]):
        report.take(snapshot(5, *rows, is_whole=False), 10)

    assert report.rows == Rows((b"a", b"a", b"b", b"c"))


def test_rows_above_the_cap_are_cut_and_that_shows(monkeypatch):
    assert clipped([b"a", b"b", b"c"], 2) == Rows((b"a", b"b"), is_clipped=True)
    assert clipped([b"a", b"b"], 2) == Rows((b"a", b"b"))
    monkeypatch.setattr(reports, "MOST_BYTES", 10)
    assert clipped([b"aaaa", b"bb", b"c"], 9) == Rows((b"aaaa", b"bb"), is_clipped=True)
    assert clipped([b"a" * 20], 9) == Rows((), is_clipped=True)


def test_a_report_that_was_cut_stays_so_while_events_of_its_execution_come():
    report = Report(rows=Rows())
    report.take(snapshot(5, b"a", b"b", is_whole=False), 1)
    report.take(snapshot(5, b"a", is_whole=False), 1)

    assert report.rows == Rows((b"a",), is_clipped=True)


def test_the_order_of_rows_does_not_make_another_result():
    assert Rows((b"a", b"b")).digest == Rows((b"b", b"a")).digest
    assert len({Rows((b"a",)).digest, Rows((b"a", b"a")).digest, Rows((b"a",), is_clipped=True).digest}) == 3


def test_rows_are_merged_as_often_as_either_side_has_them():
    assert merged([b"a", b"b"], [b"b", b"b", b"c"]) == [b"a", b"b", b"b", b"c"]
