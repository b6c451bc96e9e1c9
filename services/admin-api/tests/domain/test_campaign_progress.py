"""What viewers are told."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from admin_api.domain.campaign_progress import HostNames, Progress, result_message
from admin_api.store.campaign_rows import RowsEntry
from admin_api.store.campaigns import Standing
from admin_api.store.host_summary import HostTotals

NAMES = HostNames("db-1", "Database 1")


def answer(host_id: int = 1, rows: bytes = b'[{"port":"22"}]', outcome: str = "answered", error: str = "") -> RowsEntry:
    return RowsEntry("5-0", host_id=host_id, outcome=outcome, error=error, rows=rows)


def read(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def test_the_first_news_are_totals_and_then_status() -> None:
    totals, status = map(read, Progress().news(HostTotals(3, 2, 1), ended=False))

    assert totals == {"type": "totals", "data": {"count": 3, "online": 2, "offline": 1, "missing_in_action": 1}}
    assert status["data"] == {
        "expected_results": 2,
        "actual_results": 0,
        "count_of_hosts_with_results": 0,
        "count_of_hosts_with_no_results": 0,
        "status": "pending",
    }


def test_what_did_not_change_is_not_told_again() -> None:
    progress = Progress()
    progress.news(HostTotals(3, 2), ended=False)

    assert progress.news(HostTotals(3, 2), ended=False) == []


def test_a_campaign_is_finished_when_as_many_answered_as_are_online_and_stays_so() -> None:
    progress = Progress()
    progress.news(HostTotals(3, 1), ended=False)
    progress.count(answer())

    [status] = map(read, progress.news(HostTotals(3, 1), ended=False))
    assert status["data"]["status"] == "finished"
    [_, again] = map(read, progress.news(HostTotals(3, 3), ended=False))
    assert again["data"]["status"] == "finished"


def test_nobody_online_is_finished_at_once() -> None:
    [_, status] = map(read, Progress().news(HostTotals(3, 0), ended=False))

    assert status["data"]["status"] == "finished"


def test_an_ended_campaign_is_finished() -> None:
    [_, status] = map(read, Progress().news(HostTotals(3, 3), ended=True))

    assert status["data"]["status"] == "finished"


def test_failed_hosts_count_as_answers_but_neither_with_nor_without_results() -> None:
    progress = Progress()
    for entry in (
        answer(),
        answer(2, b"[]"),
        answer(3, b"[]", "failed", "no such table: x"),
        answer(4, outcome="expired"),
    ):
        progress.count(entry)

    [_, status] = map(read, progress.news(HostTotals(9, 9), ended=False))
    assert status["data"]["actual_results"] == 3
    assert status["data"]["count_of_hosts_with_results"] == 1
    assert status["data"]["count_of_hosts_with_no_results"] == 1


def test_a_result_names_its_host_in_every_row() -> None:
    found = read(result_message(9, answer(12), NAMES))

    assert found["data"] == {
        "distributed_query_execution_id": 9,
        "host": {"id": 12, "hostname": "db-1", "display_name": "Database 1"},
        "rows": [{"port": "22", "host_hostname": "db-1", "host_display_name": "Database 1"}],
        "stats": None,
    }


def test_a_failed_answer_carries_the_error_and_no_rows() -> None:
    found = read(result_message(9, answer(outcome="failed", error="no such table: x"), NAMES))

    assert found["data"]["error"] == "no such table: x"
    assert found["data"]["rows"] == []


def test_a_failure_without_a_text_gets_one() -> None:
    assert read(result_message(9, answer(outcome="failed"), NAMES))["data"]["error"]


def test_values_that_are_no_texts_become_texts() -> None:
    found = read(result_message(9, answer(rows=b'[{"a":1,"b":null,"c":true}]'), NAMES))

    assert {**found["data"]["rows"][0]}.items() >= {"a": "1", "b": "", "c": "true"}.items()


@pytest.mark.parametrize("rows", [b"", b"{", b"[1]", b'"x"', b"\xff"])
def test_unreadable_rows_are_no_rows(rows: bytes) -> None:
    assert read(result_message(9, answer(rows=rows), NAMES))["data"]["rows"] == []


def test_a_status_says_that_it_is_paused_or_halted_for_as_long_as_it_is() -> None:
    progress = Progress()
    progress.news(HostTotals(3, 2), ended=False)
    at = datetime(2026, 11, 27, 12, tzinfo=UTC)
    standings = [Standing(True, at, "lunch"), Standing(True, at, "lunch", is_halted=True), Standing()]
    told = [read(text) for standing in standings for text in progress.news(HostTotals(3, 2), standing, ended=False)]

    paused = {"paused_at": "2026-11-27T12:00:00Z", "pause_reason": "lunch"}
    usual = {"expected_results", "actual_results", "count_of_hosts_with_results", "count_of_hosts_with_no_results"}
    beyond = [{key: value for key, value in text["data"].items() if key not in usual} for text in told]
    assert beyond == [
        {"status": "pending", **paused},
        {"status": "pending", **paused, "halted": True},
        {"status": "pending"},
    ]
