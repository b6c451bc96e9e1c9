"""/logs/dead_letters and /logs/replays, with a real log-shipper behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from flotilla_common.contracts.logs import LINES_HEADER, subject
from flotilla_common.testing import eventually
from flotilla_common.testing.processes import running_service

GOOD = b'{"v":1,"type":"result","segments":[[7,0,1763959000000,2,20]]}\n{"n":"1"}\n{"n":"2"}\n'
RUBBISH = b"rubbish \xff"


@pytest.fixture
async def shipped(service_environment, tmp_path) -> AsyncIterator[Path]:
    """A log-shipper that delivers to files."""
    environment = service_environment("log_shipper") | {
        "FLOTILLA_DESTINATIONS": "file",
        "FLOTILLA_FILE_DIRECTORY": str(tmp_path / "shipped"),
        "FLOTILLA_BLOB_URL": (tmp_path / "blobs").as_uri(),
    }
    async with running_service("log_shipper", environment=environment) as running:
        await running.ready()
        yield tmp_path / "shipped" / "result.log"


@pytest.fixture
async def gateway(bus_for):
    bus = await bus_for("agent_gateway")

    async def send(body: bytes, lines: int) -> None:
        await bus.js.publish(subject("result", 3), body, headers={LINES_HEADER: str(lines)})

    return send


async def test_a_dead_letter_is_listed_looked_into_and_discarded(shipped, gateway, ask, admin, news):
    await gateway(RUBBISH, 4)

    async def letters():
        return (await ask(admin, "GET /logs/dead_letters", destination="file")).json()["dead_letters"]

    [letter] = await eventually(letters)
    page = (await ask(admin, "GET /logs/dead_letters")).json()
    assert (page["count"], page["lines"]) == (1, 4)
    assert (await ask(admin, "GET /logs/dead_letters", after=str(letter["id"]))).json()["dead_letters"] == []
    shown = (await ask(admin, f"GET /logs/dead_letters/{letter['id']}")).json()["dead_letter"]
    assert (shown["contents"], shown["is_readable"], shown["is_cut"]) == (["rubbish �"], False, False)
    again = await ask(admin, "POST /logs/dead_letters/replay", {"ids": [letter["id"]]})
    assert again.json() == {"count": 0, "lines": 0}
    gone = await ask(admin, "POST /logs/dead_letters/discard", {"destination": "file"})
    assert gone.json() == {"count": 1, "lines": 4}
    assert (await ask(admin, f"GET /logs/dead_letters/{letter['id']}")).status_code == 404
    ledger = (await ask(admin, "GET /logs/ledger")).json()["ledger"]
    assert [entry["dead_lettered"] for entry in ledger if entry["log_type"] == "result"] == [4]
    hours = (await ask(admin, "GET /logs/ledger", since="2026-01-01T00:00:00Z")).json()["ledger"]
    assert [(entry["log_type"], entry["received"], entry["hour"][-7:]) for entry in hours] == [("result", 4, ":00:00Z")]
    assert await news.activities() == [
        ("replayed_log_dead_letters", {"ids": [letter["id"]], "count": 0, "lines": 0}),
        ("discarded_log_dead_letters", {"destination": "file", "count": 1, "lines": 4}),
    ]


async def test_a_part_is_replayed(shipped, gateway, ask, admin, news):
    await gateway(GOOD, 2)
    await eventually(lambda: shipped.exists() and len(shipped.read_bytes().splitlines()) == 2)

    made = await ask(admin, "POST /logs/destinations/file/replay", {"from_time": "2026-01-01T00:00:00Z"})
    assert made.status_code == 200, made.text
    assert made.json()["is_whole"] is False
    await eventually(lambda: len(shipped.read_bytes().splitlines()) == 4)

    async def done():
        found = (await ask(admin, "GET /logs/replays")).json()
        [replay] = found["replays"]
        return (replay["status"], replay["lines"], found["oldest_sequence"]) == ("done", 2, 1)

    await eventually(done)
    number = made.json()["replay"]["id"]
    assert (await ask(admin, f"DELETE /logs/replays/{number}")).json()["replay"]["status"] == "done"
    assert [kind for kind, _ in await news.activities()] == ["started_log_replay", "stopped_log_replay"]


@pytest.mark.parametrize(
    ("route", "body", "words"),
    [
        ("POST /logs/dead_letters/discard", {}, "say which"),
        ("POST /logs/dead_letters/discard", {"ids": ["1"]}, "list of at most"),
        ("POST /logs/dead_letters/discard", {"destination": "file", "all": True}, "is unknown"),
        ("POST /logs/dead_letters/replay", {"reason": "400"}, "say which"),
        ("POST /logs/destinations/file/replay", {}, "give a beginning"),
        ("POST /logs/destinations/file/replay", {"from_time": "yesterday"}, "RFC 3339"),
        ("POST /logs/destinations/file/replay", {"from_time": "2026-11-24T05:00:00"}, "time zone"),
        ("POST /logs/destinations/file/replay", {"from_sequence": 1.5}, "whole numbers"),
        ("POST /logs/destinations/file/replay", {"from_sequence": 50, "to_sequence": 10}, "is before from_sequence"),
        (
            "POST /logs/destinations/file/replay",
            {"from_time": "2026-11-24T05:00:00Z", "to_time": "2026-11-24T04:00:00Z"},
            "is before from_time",
        ),
        ("POST /logs/destinations/file/replay", {"since": 1}, "there are"),
        ("POST /logs/destinations", {"name": "x", "kind": "s3", "begin": 7}, "must be an object"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_words(shipped, ask, admin, news, route, body, words):
    refused = await ask(admin, route, body)

    assert (refused.status_code in {400, 422}, words in refused.text) == (True, True), refused.text
    assert await news.activities() == []


@pytest.mark.parametrize(
    ("role", "reads", "writes"),
    [("maintainer", 200, 403), ("gitops", 403, 403), ("observer", 403, 403), ("observer_plus", 403, 403)],
)
async def test_who_may_see_and_touch_dead_letters(shipped, ask, make_user, role, reads, writes):
    member = await make_user(role)

    assert (await ask(member, "GET /logs/dead_letters")).status_code == reads
    for deed in ("replay", "discard"):
        assert (await ask(member, f"POST /logs/dead_letters/{deed}", {"destination": "file"})).status_code == writes
