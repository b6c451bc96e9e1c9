"""The reporter: real counts, nothing that identifies, once a day, and silent without a collector."""

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import httpx2
import pytest
from analytics.collector_client import CollectorClient
from analytics.consumers.answer_report_now import RESPONDER, answer
from analytics.consumers.report_daily import look
from analytics.deps import ReporterDeps
from analytics.domain.usage_report import UsageReport
from analytics.errors import CollectorDown, ReportRefused
from flotilla_common.bus.answering import respond
from flotilla_common.contracts.analytics import ReportNowV1
from flotilla_common.db.models.admin_api import Label, LoginSession, Query, Team, User
from flotilla_common.db.models.analytics import ReceivedReport, SentReport
from flotilla_common.db.models.inventory import Host, HostSeen
from flotilla_common.db.models.live_query import Campaign
from flotilla_common.testing import eventually
from sqlalchemy import text

NOW_SECRET = ("web-17", "dana@example.com", "SELECT * FROM users", "top secret team", "10.11.12.13", "C02XYZ")


async def fill(database, now):
    """Put something to count everywhere, with names that must not get out."""
    ubuntu = "Ubuntu 22.04.4 LTS"
    hosts = [
        Host(revision=1, host_identifier="web-17", hostname="web-17", platform="ubuntu", os_version=ubuntu,
             osquery_version="5.16.0", primary_ip="10.11.12.13", hardware_serial="C02XYZ", last_enrolled_at=now),
        Host(revision=2, host_identifier="b", platform="ubuntu", os_version=ubuntu,
             osquery_version="5.17.0-web-17", last_enrolled_at=now, created_at=now.replace(year=2020)),
        Host(revision=3, host_identifier="c", platform="web-17", os_version="web-17", osquery_version="web-17",
             last_enrolled_at=now, created_at=now.replace(year=2020)),
    ]  # fmt: skip
    await database.add(*hosts)
    await database.add(
        HostSeen(host_id=hosts[0].id, seen_at=now),
        Team(name="top secret team"),
        User(name="Dana", email="dana@example.com"),
        User(name="Eve", email="eve@example.com"),
        LoginSession(user_id=1, token_hash=b"1", accessed_at=now),
        LoginSession(user_id=1, token_hash=b"2", accessed_at=now),
        LoginSession(user_id=2, token_hash=b"3", accessed_at=now.replace(year=2020)),
        Label(name="web-17", query="SELECT * FROM users"),
        Query(name="web-17", query="SELECT * FROM users", interval_seconds=60),
        Query(name="other", query="SELECT * FROM users"),
        Query(name="ad hoc", query="SELECT * FROM users", saved=False),
        Campaign(sql="SELECT * FROM users", user_id=1, command=b"", deadline=now),
    )


async def outcomes(database) -> list[str]:
    return [row.outcome for row in sorted(await database.rows(SentReport), key=lambda row: row.id)]


async def test_a_report_counts_what_is_there(database, silent_reporter, clock):
    await fill(database, clock())

    report = (await answer(ReportNowV1(), silent_reporter)).report

    assert report["numHostsEnrolled"] == 3
    assert report["numHostsOnline"] == 1
    assert (report["numUsers"], report["numWeeklyActiveUsers"], report["numTeams"]) == (2, 1, 1)
    assert (report["numQueries"], report["numScheduledQueries"], report["numCampaigns"]) == (2, 1, 1)
    assert report["numLabels"] == 1
    assert report["hostsEnrolledByOperatingSystem"] == {
        "other": [{"version": "other", "numEnrolled": 1}],
        "ubuntu": [{"version": "22.04.4", "numEnrolled": 2}],
    }
    assert {item["osqueryVersion"]: item["numHosts"] for item in report["hostsEnrolledByOsqueryVersion"]} == {
        "5.16.0": 1,
        "5.17.0": 1,
        "other": 1,
    }


async def test_no_name_address_or_sql_is_in_a_report(database, silent_reporter, clock):
    await fill(database, clock())

    text = json.dumps((await answer(ReportNowV1(), silent_reporter)).report)

    assert not [secret for secret in NOW_SECRET if secret in text]


async def test_the_identifier_stays_and_the_report_id_changes(silent_reporter):
    first = (await answer(ReportNowV1(), silent_reporter)).report
    second = (await answer(ReportNowV1(), silent_reporter)).report

    assert first["anonymousIdentifier"] == second["anonymousIdentifier"]
    assert UUID(first["reportId"]) != UUID(second["reportId"])


async def test_without_a_collector_nothing_is_sent_but_a_report_can_be_seen(database, silent_reporter):
    await look(silent_reporter)
    assert await database.rows(SentReport) == []

    assert (await answer(ReportNowV1(), silent_reporter)).outcome == "not_sent"

    assert await outcomes(database) == ["not_sent"]
    assert await database.rows(ReceivedReport) == []


async def test_what_the_reporter_builds_the_collector_takes(database, reporter, clock):
    await fill(database, clock())

    reply = await answer(ReportNowV1(), reporter)

    assert reply.outcome == "accepted"
    [received] = await database.rows(ReceivedReport)
    assert received.body == reply.report
    UsageReport.model_validate_json(json.dumps(received.body))


async def test_it_reports_once_a_day_across_restarts(database, reporter, clock):
    for _ in range(5):
        restarted = ReporterDeps(database.sessions("analytics"), reporter.collector, clock)
        await look(restarted)
        clock.turn(hours=4)
    assert await outcomes(database) == ["accepted"]

    clock.turn(hours=4)
    await look(reporter)

    assert await outcomes(database) == ["accepted", "accepted"]
    assert len(await database.rows(ReceivedReport)) == 2


async def test_several_replicas_report_once(database, reporter):
    await asyncio.gather(*(look(reporter) for _ in range(4)))

    assert await outcomes(database) == ["accepted"]
    assert len(await database.rows(ReceivedReport)) == 1


@pytest.fixture
async def lost_reporter(database, clock):
    """A reporter whose collector does not answer."""
    to_nobody = CollectorClient("http://127.0.0.1:9")
    yield ReporterDeps(database.sessions("analytics"), to_nobody, clock)
    await to_nobody.close()


async def test_a_report_that_did_not_get_through_is_sent_later_under_the_same_id(
    database, lost_reporter, reporter, clock
):
    await look(lost_reporter)
    await look(lost_reporter)  # too early for another attempt
    [row] = await database.rows(SentReport)
    assert (row.outcome, row.attempts) == ("pending", 1)
    assert "ConnectError" in row.error

    clock.turn(minutes=1)
    await look(reporter)

    assert await outcomes(database) == ["accepted"]
    [received] = await database.rows(ReceivedReport)
    assert received.report_id == row.report_id


async def test_attempts_become_rarer_and_end_with_the_next_days_report(database, lost_reporter, clock):
    for _ in range(24 * 60 + 1):
        clock.turn(minutes=1)
        if clock.now.minute % 10 == 0 or clock.now.hour == 12:
            await look(lost_reporter)

    first, second = sorted(await database.rows(SentReport), key=lambda row: row.id)
    assert (first.outcome, second.outcome) == ("superseded", "pending")
    assert 20 < first.attempts < 32


async def test_a_report_that_is_refused_is_not_sent_again(database, collector_url, clock):
    client = CollectorClient(f"{collector_url}/nowhere")
    deps = ReporterDeps(database.sessions("analytics"), client, clock)
    await look(deps)
    clock.turn(hours=2)
    await look(deps)
    await client.close()

    [row] = await database.rows(SentReport)
    assert (row.outcome, row.attempts) == ("refused", 1)
    assert row.error.startswith("status 404")


async def test_admin_api_can_ask_for_a_report(bus_for, reporter):
    ready = asyncio.Event()
    task = asyncio.create_task(respond(await bus_for("analytics"), RESPONDER, reporter, ready=ready))
    await ready.wait()

    reply = await (await bus_for("admin_api")).request(ReportNowV1())

    assert reply.outcome == "accepted"
    assert reply.report["numHostsEnrolled"] == 0
    task.cancel()


@pytest.mark.parametrize("has_collector", [True, False])
async def test_reports_from_long_ago_are_forgotten_also_without_a_collector(
    database, clock, reporter, silent_reporter, has_collector
):
    deps = reporter if has_collector else silent_reporter
    await answer(ReportNowV1(), deps)
    clock.turn(days=89)
    await look(deps)
    kept = len(await database.rows(SentReport))
    [first] = [row for row in await database.rows(SentReport) if row.created_at < clock.now - timedelta(days=80)]
    clock.turn(days=2)

    await look(deps)

    assert kept >= 1
    assert first.id not in [row.id for row in await database.rows(SentReport)]


@dataclass
class SlowCollector:
    """A collector that takes its time, and then takes a report or not."""

    failure: Exception | None = None
    posted: list[str] = field(default_factory=list)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def post(self, report) -> None:
        self.posted.append(report["reportId"])
        self.reached.set()
        await self.go_on.wait()
        if self.failure is not None:
            raise self.failure


async def open_transactions(database) -> int:
    statement = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE usename LIKE '%analytics%' AND datname = :name AND xact_start IS NOT NULL"
    )
    async with database.sessions()() as session:
        return int((await session.execute(text(statement), {"name": database.name})).scalar_one())


async def test_no_transaction_is_open_and_nobody_sends_the_same_while_a_collector_is_waited_for(database, clock):
    collector = SlowCollector()
    deps = ReporterDeps(database.sessions("analytics"), collector, clock)
    looking = asyncio.create_task(look(deps))
    await collector.reached.wait()

    await look(deps)  # another replica
    opened = await open_transactions(database)
    collector.go_on.set()
    await looking

    assert opened == 0
    assert len(collector.posted) == 1
    assert await outcomes(database) == ["accepted"]


@pytest.mark.parametrize(
    ("failure", "outcome"), [(None, "accepted"), (CollectorDown("x"), "superseded"), (ReportRefused("x"), "refused")]
)
async def test_a_report_that_is_superseded_on_its_way_is_noted_as_what_became_of_it(database, clock, failure, outcome):
    collector = SlowCollector(failure)
    deps = ReporterDeps(database.sessions("analytics"), collector, clock)
    looking = asyncio.create_task(look(deps))
    await collector.reached.wait()
    clock.turn(days=1)
    second = asyncio.create_task(look(deps))
    await eventually(lambda: len(collector.posted) == 2)
    collector.go_on.set()
    await asyncio.gather(looking, second)

    assert (await outcomes(database))[0] == outcome


async def test_a_collector_that_trickles_for_ever_is_given_up(monkeypatch):
    monkeypatch.setattr("analytics.collector_client.TOTAL_SECONDS", 0.3)

    hung_up = asyncio.Event()

    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        with contextlib.suppress(OSError):
            while not writer.is_closing():
                writer.write(b"x-more: 1\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()
        hung_up.set()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    client = CollectorClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    with pytest.raises(CollectorDown, match="TimeoutError"):
        await client.post({})

    await client.close()
    await hung_up.wait()
    server.close()


async def test_a_collector_that_fails_is_tried_again():
    def fail(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(503)

    client = CollectorClient("http://collector.test")
    client._client = httpx2.AsyncClient(transport=httpx2.MockTransport(fail))

    with pytest.raises(Exception, match="status 503"):
        await client.post({})
