"""What is reported of hosts that were here."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from agent_gateway.domain.seen import SeenHosts
from flotilla_common.contracts.bitmaps import bitmap_of

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def hosts_in(text: str) -> set[int]:
    return set(bitmap_of(base64.b64decode(text))) if text else set()


def test_who_polled_and_who_logged_are_told_once() -> None:
    seen = SeenHosts()
    seen.add(1)
    seen.add(2)
    seen.have_logged([2, 2])

    report = seen.take(NOON)

    assert report is not None
    assert (hosts_in(report.bitmap), hosts_in(report.logged), report.seen_at) == ({1, 2}, {2}, NOON)
    assert seen.take(NOON) is None


def test_lines_whose_ack_comes_after_a_report_are_told_with_the_next_one() -> None:
    seen = SeenHosts()
    seen.add(2)
    first = seen.take(NOON)
    seen.have_logged([2])
    second = seen.take(NOON)

    assert first is not None
    assert second is not None
    assert (first.logged, hosts_in(second.bitmap), hosts_in(second.logged)) == ("", set(), {2})
