"""Warnings of osqueryd about lines that it threw away: what counts, and what counts once."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from flotilla_common.contracts.logs import Manifest, Segment
from log_shipper.domain.host_losses import MARKS, MOST_LINES, MOST_OF_A_HOST, Loss, Lost, by_host, losses_in
from log_shipper.domain.messages import open_message
from log_shipper.store.stream import StoredMessage

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SECOND = 1795492488
RECORDED = (
    b'{"hostIdentifier":"00000000-0000-4000-8000-000000000001","calendarTime":"Tue Nov 24 03:54:48 2026 UTC",'
    b'"unixTime":1795492488,"severity":1,"filename":"tls_logger.cpp","line":140,'
    b'"message":"Linesize exceeds TLS logger maximum: 1400277","version":"5.23.0-38-ga5b14f63d",'
    b'"decorations":{"always_one":"yes","hostname":"host-1"}}'
)
"""As a real osqueryd sent it."""


def status(message: str, unix_time: object = SECOND) -> bytes:
    return json.dumps({"unixTime": unix_time, "severity": 1, "filename": "buffered.cpp", "message": message}).encode()


def read(lines_by_host: dict[int, list[bytes]]) -> list[Loss]:
    parts = {host: b"".join(line + b"\n" for line in lines) for host, lines in lines_by_host.items()}
    segments = [Segment(host, 0, 0, len(lines_by_host[host]), len(part)) for host, part in parts.items()]
    data = msgspec.json.encode(Manifest(1, "status", segments)) + b"\n" + b"".join(parts.values())
    lines = sum(len(some) for some in lines_by_host.values())
    return list(losses_in(open_message(StoredMessage(1, NOON, "logs.status.v1.3", lines, data))))


def said(*lines: bytes) -> list[tuple[str, int]]:
    return [(loss.kind, loss.lines) for loss in read({7: list(lines)})]


def total(*losses: Loss) -> Lost:
    found = Lost()
    for loss in losses:
        found = found.after(loss)
    return found


def too_long(size: int, at: datetime = NOON) -> Loss:
    return Loss(7, "oversize", 1, str(size), at)


def test_a_recorded_warning_of_a_long_line_is_one_line():
    assert said(RECORDED) == [("oversize", 1)]


def test_a_purge_is_what_was_above_the_limit():
    assert said(status("Purging buffered logs limit (1000000) exceeded: 1000250")) == [("purged", 250)]


def test_each_host_of_a_message_has_its_own():
    purge = status("Purging buffered logs limit (10) exceeded: 12")
    found = read({7: [status("hello"), purge], 8: [status("hello")], 9: [purge, RECORDED]})

    assert list(by_host(found)) == [(7, "purged"), (9, "oversize"), (9, "purged")]


@pytest.mark.parametrize(
    "line",
    [
        status("Error executing scheduled query x: no such table: Purging buffered logs limit (1) exceeded: 5"),
        status("Purging buffered logs limit (5) exceeded: 5"),
        status("Purging buffered logs limit (5) exceeded: 3"),
        status("Purging buffered logs limit (٥) exceeded: ٩"),
        status("Purging buffered logs limit (5) exceeded: " + "9" * 40),
        status("Linesize exceeds TLS logger maximum: many"),
        b"Linesize exceeds TLS logger maximum: 5",
        b'{"message":["Linesize exceeds TLS logger maximum: 5"]}',
        b'["Linesize exceeds TLS logger maximum: 5"]',
        b"[" * 100_000 + b'"Linesize exceeds TLS logger maximum: 5"',
    ],
    ids=lambda line: line[:60].decode(errors="replace"),
)
def test_what_only_looks_like_a_warning_does_not_count(line):
    assert said(line) == []


def test_a_host_cannot_say_more_than_a_limit():
    huge = read({7: [status(f"Purging buffered logs limit (1) exceeded: {9 * 10**18}")]})
    many = [Loss(7, "purged", MOST_LINES, str(number), NOON) for number in range(2000)]

    assert huge[0].lines == MOST_LINES
    assert total(*many).lines == MOST_OF_A_HOST


def test_a_time_that_is_none_is_no_part_of_a_mark():
    found = read({7: [status("Purging buffered logs limit (1) exceeded: 5", time) for time in ("\0", "x" * 99, -1)]})

    assert {loss.mark for loss in found} == {" 1 5"}


def test_the_same_purge_told_twice_counts_once():
    [loss] = read({7: [status("Purging buffered logs limit (10) exceeded: 15")]})
    [older] = read({7: [status("Purging buffered logs limit (10) exceeded: 15", str(SECOND))]})
    [later] = read({7: [status("Purging buffered logs limit (10) exceeded: 15", SECOND + 4)]})

    assert (total(loss, older, later).lines, total(loss, older, later).warnings) == (10, 2)


def test_a_purge_that_failed_lost_nothing():
    told = read({7: [status("Purging buffered logs limit (10) exceeded: 15")] * 2})
    [failed] = read({7: [status("Trying to purge 5 logs but only found 3")]})

    assert (total(*told, failed, failed).lines, total(failed).lines) == (0, 0)


def test_a_long_line_that_is_tried_again_counts_once():
    again = [too_long(1400277, NOON + timedelta(minutes=minutes)) for minutes in (0, 1, 61, 121)]

    assert total(*again).lines == 1
    assert total(*again, too_long(1400278)).lines == 2


def test_a_long_line_of_a_known_length_counts_again_when_no_try_can_be_the_reason():
    assert total(too_long(5), too_long(5, NOON + timedelta(hours=2, seconds=1))).lines == 2


def test_what_is_remembered_of_a_host_is_bounded():
    found = total(*[too_long(size) for size in range(1000)])

    assert (found.lines, len(found.marks)) == (1000, MARKS)


def test_a_warning_that_is_no_text_does_not_count():
    line = status("Trying to purge 5 logs but only found 3").replace(b"only", b"on\xff")

    assert said(line, RECORDED) == [("oversize", 1)]
