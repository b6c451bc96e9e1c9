"""Objects by query: whatever a query is called, its lines have a place of their own, and there are only so many."""

from __future__ import annotations

import gzip
import re
from urllib.parse import unquote

import pytest
from flotilla_common.contracts.log_destinations import Batching, Destination
from hypothesis import given
from hypothesis import strategies as st
from log_shipper.domain.running import running
from log_shipper.sinks.s3 import MIB
from log_shipper.sinks.s3.layout import NAME_CHARACTERS, folder_of, split

from .s3_place import FIRST, batch, bodies, chunk, objects, of_query, sink_for

STEM = "date=2026-11-24/hour=05/00000000000000000007-00000000000000000009"


async def test_result_lines_are_put_by_query_and_status_lines_by_hour(s3):
    sink = sink_for(s3, prefix="fleet", layout="query")
    chunks = [
        chunk(7, of_query("users", 1), of_query("pack/it/disk usage", 2), b'{"number":3}'),
        chunk(8, b'{"severity":0}', log_type="status"),
        chunk(9, of_query("users", 4)),
    ]

    target = await sink.plan(7, 9, FIRST)
    await sink.deliver(batch(*chunks), target)

    stem = target["object"].removesuffix(".ndjson.gz")
    assert re.fullmatch(f"{STEM}\\.[0-9a-f]{{16}}", stem)
    assert await objects(s3) == {
        f"fleet/result/query=_none/{stem}.ndjson.gz": b'{"number":3}\n',
        f"fleet/result/query=disk%20usage/{stem}.ndjson.gz": of_query("pack/it/disk usage", 2) + b"\n",
        f"fleet/result/query=users/{stem}.ndjson.gz": of_query("users", 1) + b"\n" + of_query("users", 4) + b"\n",
        f"fleet/status/{stem}.ndjson.gz": b'{"severity":0}\n',
    }


async def test_beyond_so_many_queries_the_smallest_share_an_object(s3):
    sink = sink_for(s3, layout="query", most_queries=2)
    lines = [of_query("big", 1), of_query("rare"), of_query("big", 2), of_query("big", 3), b"{}", of_query("rarer")]
    lines += [of_query("mid", 5), of_query("mid", 6)]

    await sink.deliver(batch(chunk(7, *lines)), await sink.plan(7, 9, FIRST))

    found = {name.split("/")[2]: body.count(b"\n") for name, body in (await objects(s3)).items()}
    assert found == {"query=big": 3, "query=mid": 2, "query=_none": 1, "query=_other": 2}


HOSTILE = [
    "..", "../../etc/passwd", "a/b", "a\\b", "a%2Fb", "_none", "_other", "~", "", "\0", "ä", "\ud7ff", "query=x", "a=b",
    "x" * 1000, "x" * 1001, "%" * 300, "CON", ".", " ", "a b", "a+b", "\n", "__HIVE_DEFAULT_PARTITION__",
]  # fmt: skip


def test_no_two_queries_share_a_folder_and_none_is_a_path():
    names = [*HOSTILE, folder_of("x" * 1000)]
    folders = {folder_of(name) for name in names}

    assert len(folders) == len(names)
    for folder in folders:
        assert re.fullmatch(r"[A-Za-z0-9_.~%-]+", folder)
        assert ".." not in folder
        assert len(folder) <= NAME_CHARACTERS


NAMES = st.text("ab_.~%/\\\0ä\U0001f600 =", max_size=300)


@given(NAMES, NAMES)
def test_folders_of_queries_differ_and_give_the_name_back(one, other):
    assert (folder_of(one) == folder_of(other)) == (one == other)
    if one and "~" not in folder_of(one):
        assert unquote(folder_of(one)) == one
    assert not folder_of(one).startswith("_") or not one
    assert len(folder_of(one)) <= NAME_CHARACTERS


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "pack/x/a", ""]), max_size=6), min_size=1, max_size=5))
def test_a_split_keeps_every_line_with_its_origin(messages):
    chunks = [
        chunk(sequence, *(of_query(name, number) for number, name in enumerate(names)), host_id=sequence)
        for sequence, names in enumerate(messages, 1)
        if names
    ]

    found = {folder: [share.cut() for share in shares] for folder, shares in split(chunks, 2).items()}

    before = sorted((line.position, line.host_id, line.raw) for one in chunks for line in one.each())
    after = sorted(
        (line.position, line.host_id, line.raw) for parts in found.values() for one in parts for line in one.each()
    )
    assert after == before
    assert all(segment.bytes == len(one.body) for parts in found.values() for one in parts for segment in one.segments)


async def test_hostile_names_are_put_and_found(s3):
    sink = sink_for(s3, layout="query")
    names = ["../../x", "a%2Fb", "ü" * 300, "_other", "\\u0000"]

    await sink.deliver(batch(chunk(7, *(of_query(name) for name in names))), await sink.plan(7, 7, FIRST))

    found = await objects(s3)
    assert sorted(found.values()) == sorted(of_query(name) + b"\n" for name in names)
    assert all(len(name) < 512 for name in found)


async def test_the_same_batch_gives_the_same_bytes(s3):
    sink = sink_for(s3, layout="query", format="parquet")
    target = await sink.plan(7, 9, FIRST)
    chunks = [chunk(7, *(of_query(f"query {number % 3}", number) for number in range(50)))]

    await sink.deliver(batch(*chunks), target)
    before = await bodies(s3)
    await sink_for(s3, layout="query", format="parquet").deliver(batch(*chunks), target)

    assert await bodies(s3) == before


async def test_a_range_that_comes_again_with_other_lines_overwrites_nothing(s3):
    """In a replay, of dead letters, or of a stream that was made anew."""
    sink = sink_for(s3, layout="query")
    await sink.deliver(batch(chunk(7, of_query("users", 1))), await sink.plan(7, 9, FIRST))

    await sink.deliver(batch(chunk(7, of_query("users", 2))), await sink.plan(7, 9, FIRST))

    assert sorted((await objects(s3)).values()) == [of_query("users", number) + b"\n" for number in (1, 2)]


@pytest.mark.parametrize("changes", [{"layout": "query"}, {"format": "parquet"}])
def test_many_or_columnar_objects_are_made_of_larger_batches(s3, changes):
    limits = sink_for(s3, **changes).limits

    assert (limits.batch_seconds, limits.batch_bytes) == (60.0, 16 * MIB)


@pytest.mark.parametrize(("wanted", "got"), [(None, 8), (64, 64), (1000, 64), (1, 1)])
def test_a_batch_can_be_made_larger_up_to_a_limit(s3, wanted, got):
    size = None if wanted is None else wanted * MIB
    spec = Destination(name="s3", kind="s3", batch=Batching(bytes=size))

    assert running(spec, sink_for(s3)).limits.batch_bytes == got * MIB


async def test_odd_lines_are_put_byte_for_byte(s3):
    odd = [b"\xff\xfe", b"nul \0 here", b'{"name":"' + b"x" * 5_000_000 + b'"}', b"", b"{", b'{"name":5}', b"[" * 5000]
    for layout in ("hour", "query"):
        sink = sink_for(s3, layout=layout, prefix=layout)
        await sink.deliver(batch(chunk(7, *odd)), await sink.plan(7, 7, FIRST))

    for layout in ("hour", "query"):
        found = {name: body for name, body in (await bodies(s3)).items() if name.startswith(layout)}
        lines = [line for body in found.values() for line in gzip.decompress(body).split(b"\n")[:-1]]
        assert sorted(lines) == sorted(odd)
