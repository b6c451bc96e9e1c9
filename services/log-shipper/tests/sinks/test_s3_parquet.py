"""Parquet: every line is in it, taken apart where it can be, as it came where it cannot."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_shipper.sinks.s3 import parquet
from log_shipper.sinks.s3.parquet import pack

from .s3_place import FIRST, RECEIVED_MS, batch, bodies, chunk, of_query, sink_for

EVENT = {
    "name": "pack/it/users", "hostIdentifier": "A-1", "calendarTime": "Tue Nov 24 05:00:00 2026 UTC",
    "unixTime": 1795496400, "epoch": 0, "counter": 3, "numerics": False,
    "decorations": {"host_uuid": "A-1", "hostname": "web-17"}, "columns": {"uid": "0", "username": "dana"},
    "action": "added",
}  # fmt: skip
STATUS = {
    "hostIdentifier": "A-1", "calendarTime": "Tue Nov 24 05:00:00 2026 UTC", "unixTime": 1795496400, "severity": 2,
    "filename": "scheduler.cpp", "line": 112, "message": "no such table: y", "version": "5.17.0",
    "decorations": {"hostname": "web-17"},
}  # fmt: skip


def encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def rows_of(*lines: bytes, log_type: str = "result") -> list[dict[str, object]]:
    table = pq.read_table(io.BytesIO(pack(log_type, [chunk(7, *lines, log_type=log_type)])))
    return table.to_pylist(maps_as_pydicts="strict")


def filled(row: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if value is not None}


PLACE = {
    "host_id": 7, "team_id": 3, "received_at": datetime.fromtimestamp(RECEIVED_MS / 1000, UTC), "stream_sequence": 7,
    "stream_index": 0,
}  # fmt: skip


def test_a_result_line_becomes_a_row():
    [row] = rows_of(encoded(EVENT))

    assert filled(row) == PLACE | {
        "name": "pack/it/users", "query_name": "users", "pack_name": "it", "host_identifier": "A-1", "action": "added",
        "calendar_time": "Tue Nov 24 05:00:00 2026 UTC", "unix_time": 1795496400, "epoch": 0, "counter": 3,
        "numerics": False, "decorations": {"host_uuid": "A-1", "hostname": "web-17"},
        "columns": '{"uid":"0","username":"dana"}',
    }  # fmt: skip


def test_a_status_line_becomes_a_row():
    [row] = rows_of(encoded(STATUS), log_type="status")

    assert filled(row) == PLACE | {
        "host_identifier": "A-1", "calendar_time": "Tue Nov 24 05:00:00 2026 UTC", "unix_time": 1795496400,
        "severity": 2, "filename": "scheduler.cpp", "line": 112, "message": "no such table: y", "version": "5.17.0",
        "decorations": {"hostname": "web-17"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("member", "column", "value"),
    [("snapshot", "snapshot", [{"a": "1"}, {"a": 2.5}]), ("diffResults", "diff_results", {"added": [], "removed": ""})],
)
def test_lines_of_many_rows_are_one_row_with_json(member, column, value):
    [row] = rows_of(encoded({"name": "users", member: value}))

    assert json.loads(row[column]) == value
    assert (row["raw"], row["query_name"], row["pack_name"]) == (None, "users", None)


ODD = [
    b"\xff\xfe", b"no json", b"", b"{", b"[]", b"5", b'{"name":5}',
    b'{"name":"a","unixTime":"5"}', b'{"name":"a","x":1}',
    b'{"name":"a\xff"}', b'{"name":"a","columns":{"b":"\xff"}}', b'{"name":"a","decorations":{"b":5}}', b"a\0b",
    b'{"name":"\\ud800"}', b'{"name":"a","epoch":99999999999999999999}', b"[" * 5000, b'{"name":"a","decorations":""}',
    b'{"name":"a","unixTime":1.5}',
]  # fmt: skip


@pytest.mark.parametrize("log_type", ["result", "status"])
def test_what_does_not_fit_is_kept_as_it_came(log_type):
    rows = rows_of(*ODD, log_type=log_type)

    assert [row["raw"] for row in rows] == ODD
    assert [row["stream_index"] for row in rows] == list(range(len(ODD)))


def test_numbers_as_texts_are_read_and_the_line_is_kept():
    line = encoded(EVENT | {"unixTime": "1795496400", "counter": "x", "query_id": 7})

    [row] = rows_of(line)

    assert (row["unix_time"], row["counter"], row["name"], row["raw"]) == (1795496400, None, "pack/it/users", line)
    assert json.loads(row["columns"]) == EVENT["columns"]


@given(st.lists(st.binary(max_size=60).map(lambda raw: raw.replace(b"\n", b" ")), min_size=1, max_size=20))
def test_any_bytes_at_all_are_kept(lines):
    kept = [row["raw"] for row in rows_of(*lines)]

    assert all(raw == line or json.loads(line).keys() <= {"name"} for raw, line in zip(kept, lines, strict=True))


TEXTS = st.text('a5"\\\0ä\U0001f600{ ', max_size=6)


@given(
    st.dictionaries(
        st.sampled_from(["name", "epoch", "columns", "snapshot", "decorations", "numerics", "action", "other"]),
        st.one_of(st.integers(), TEXTS, st.booleans(), st.dictionaries(TEXTS, TEXTS), st.floats(allow_nan=False)),
    )
)
def test_a_row_says_all_that_its_line_says(members):
    line = json.dumps(members).encode()

    [row] = rows_of(line)

    if row["raw"] is None:
        said = {name: row[name] for name in ("name", "epoch", "numerics", "action", "decorations") if name in members}
        said |= {name: json.loads(row[name]) for name in ("columns", "snapshot") if name in members}
        assert said == members
    else:
        assert row["raw"] == line


def test_many_lines_keep_their_order(monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_BYTES", 200_000)
    lines = [of_query("users", number) for number in range(20_000)]
    body = pack("result", [chunk(7, *lines)])

    file = pq.ParquetFile(io.BytesIO(body))

    assert file.num_row_groups > 1
    assert file.read(["raw"]).column(0).to_pylist() == lines


def test_a_line_of_five_megabytes_is_a_row():
    [row] = rows_of(encoded(EVENT | {"columns": {"a": "x" * 5_000_000}}))

    assert len(row["columns"]) > 5_000_000


def test_the_schema_is_as_it_was():
    """Columns are added and never changed: tables of people are made of them."""
    assert str(parquet.schema_of("result").remove_metadata()).splitlines() == [
        "host_id: int64", "team_id: int64", "received_at: timestamp[ms, tz=UTC]", "stream_sequence: int64",
        "stream_index: int64", "host_identifier: string", "unix_time: int64", "calendar_time: string",
        "name: string", "query_name: string", "pack_name: string", "action: string", "epoch: int64", "counter: int64",
        "numerics: bool", "columns: string", "snapshot: string", "diff_results: string",
        "decorations: map<string, string>", "  child 0, entries: struct<key: string not null, value: string> not null",
        "      child 0, key: string not null", "      child 1, value: string", "raw: binary",
    ]  # fmt: skip


async def test_readers_of_hive_layouts_get_the_names_of_queries_back(s3, tmp_path):
    sink = sink_for(s3, layout="query", format="parquet")
    names = ["users", "disk usage", "a/b", "100%"]
    lines = [encoded(EVENT | {"name": name}) for name in names]
    await sink.deliver(batch(chunk(7, *lines)), await sink.plan(7, 7, FIRST))
    for name, body in (await bodies(s3)).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(body)

    partitioning = pyarrow.dataset.partitioning(
        pyarrow.schema([("query", pyarrow.string()), ("date", pyarrow.string()), ("hour", pyarrow.string())]),
        flavor="hive",
    )
    found = pyarrow.dataset.dataset(tmp_path / "logs" / "result", partitioning=partitioning)

    rows = found.to_table(["query", "name", "date", "hour"]).to_pylist()
    assert sorted(row["query"] for row in rows) == sorted(names)
    assert all((row["query"], row["date"], row["hour"]) == (row["name"], "2026-11-24", "05") for row in rows)
