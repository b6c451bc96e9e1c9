"""The collector: takes what is sound, once; refuses the rest."""

import json

import pytest
from analytics.routes.reports import LARGEST_BYTES
from flotilla_common.db.models.analytics import ReceivedReport

from .conftest import small_report

OTHER = "hostsEnrolledByOperatingSystem"


async def test_a_report_is_kept(client, database):
    report = small_report(**{OTHER: {"ubuntu": [{"version": "22.04", "numEnrolled": 3}]}})

    answer = await client.post("/api/v1/reports", json=report)

    assert (answer.status_code, answer.json()) == (200, {"accepted": True, "repeated": False})
    [row] = await database.rows(ReceivedReport)
    assert str(row.report_id) == report["reportId"]
    assert row.body["numHostsEnrolled"] == 3
    assert row.body[OTHER] == report[OTHER]


async def test_the_same_report_again_is_accepted_and_kept_once(client, database):
    report = small_report()
    await client.post("/api/v1/reports", json=report)

    answer = await client.post("/api/v1/reports", json=report)

    assert answer.json() == {"accepted": True, "repeated": True}
    assert len(await database.rows(ReceivedReport)) == 1


async def test_members_that_nobody_knows_are_not_kept(client, database):
    await client.post("/api/v1/reports", json=small_report(hostname="web-17", email="dana@example.com"))

    [row] = await database.rows(ReceivedReport)
    assert not {"hostname", "email"} & row.body.keys()


@pytest.mark.parametrize(
    "changes",
    [
        {"reportId": "7"},
        {"anonymousIdentifier": None},
        {"fleetVersion": "web-17"},
        {"numHostsEnrolled": "3"},
        {"numHostsEnrolled": -1},
        {"numHostsEnrolled": 3.5},
        {"numUsers": 10**12},
        {OTHER: {"web-17": []}},
        {OTHER: {"ubuntu": [{"version": "web-17", "numEnrolled": 1}]}},
        {OTHER: {"ubuntu": [{"version": "1", "numEnrolled": 1}] * 61}},
        {"hostsEnrolledByOsqueryVersion": [{"osqueryVersion": "5.1; DROP", "numHosts": 1}]},
        {"builtAt": "yesterday"},
        {"builtAt": "2026-11-24T12:00:00"},
    ],
)
async def test_a_report_with_a_wrong_member_is_refused(client, database, changes):
    answer = await client.post("/api/v1/reports", json=small_report(**changes))

    assert answer.status_code == 422
    assert answer.json()["error"].startswith(next(iter(changes)))
    assert await database.rows(ReceivedReport) == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
async def test_a_body_that_is_no_report_is_refused(client, body):
    answer = await client.post("/api/v1/reports", content=body)

    assert answer.status_code == 422
    assert answer.json()["error"]


async def test_a_body_that_is_too_large_is_refused(client, database):
    body = json.dumps(small_report(padding="x" * LARGEST_BYTES)).encode()

    answer = await client.post("/api/v1/reports", content=body)

    assert answer.status_code == 413
    assert await database.rows(ReceivedReport) == []


async def test_other_paths_and_methods_are_answered_with_an_error(client):
    assert (await client.get("/api/v1/reports")).status_code == 405
    assert (await client.get("/")).json() == {"error": "Not Found"}
