"""The rows' script: one entry per host, none after the end."""

from __future__ import annotations

from flotilla_common.clock import utc_now
from live_query.store.ledger import Entry
from live_query.store.rows import Rows


def rows(host_id: int, text: bytes, *, campaign_id: int = 1) -> Rows:
    entry = Entry(campaign_id, host_id, "answered", utc_now(), row_count=1)
    return Rows(entry, b'[{"n":"' + text + b'"}]')


async def test_the_first_answer_wins_and_is_told_to_the_others(deps, books):
    first, second = rows(7, b"first"), rows(7, b"second")

    assert await deps.rows.keep([first, second]) == [first.entry, first.entry]
    assert await deps.rows.keep([second]) == [first.entry]
    assert [entry["rows"] for entry in await books.entries(1)] == ['[{"n":"first"}]']
    assert await deps.rows.kept_for(1, [6, 7, 8]) == [first.entry]


async def test_nothing_comes_after_the_end_and_the_end_comes_once(deps, books):
    await deps.rows.keep([rows(7, b"x")])
    await deps.rows.end({1: "stopped"})
    await deps.rows.end({1: "again"})

    assert await deps.rows.keep([rows(8, b"y")]) == []
    assert [entry.get("end") for entry in await books.entries(1)] == [None, "stopped"]


async def test_errors_count_and_are_cut_beyond_the_limit_of_the_campaign(make_deps, books):
    deps = await make_deps(campaign_bytes=10_000)
    failures = [failure(host_id, "ü" * 2000) for host_id in range(1, 6)]
    brief = failure(6, "no such table")
    kept = await deps.rows.keep([*failures, brief])
    told = [entry["error"] for entry in await books.entries(1)]

    assert [len(error) for error in told] == [2000, 2000, 200, 200, 200, len("no such table")]
    assert [entry.error for entry in kept] == told  # the ledger says what viewers see
    assert not any(entry.truncated for entry in kept)


def failure(host_id: int, error: str) -> Rows:
    entry = Entry(1, host_id, "failed", utc_now(), error=error)
    return Rows(entry, b"[]")
