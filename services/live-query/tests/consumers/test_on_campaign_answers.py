"""Answers: each host counts once, whatever comes twice, late, or from the wrong host."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from flotilla_common.contracts.campaigns import command_key
from flotilla_common.testing import eventually
from live_query import metrics
from live_query.consumers import on_campaign_answers
from live_query.domain.settling import Received

from ..conftest import answer_to, done, with_limits


@pytest.fixture
def counted():
    """How many answers came to an outcome since the test began."""
    before = {metric.labels["outcome"]: metric.value for metric in samples()}

    def count(outcome: str) -> float:
        now = {metric.labels["outcome"]: metric.value for metric in samples()}
        return now.get(outcome, 0.0) - before.get(outcome, 0.0)

    return count


def samples():
    [family] = metrics.ANSWERS.collect()
    return [sample for sample in family.samples if sample.name.endswith("_total")]


async def test_every_host_that_answers_is_in_the_ledger_and_in_redis_once(deps, running, fleet, start, gateway, books):
    hosts = await fleet.hosts(50)
    async with running(deps):
        campaign = await start(label_ids=[1])
        for host_id in hosts:
            await gateway.answer(host_id, answer_to(campaign.campaign_id, [{"id": str(host_id)}]))
        await eventually(lambda: books.is_complete(campaign.campaign_id), timeout=30)

    assert await books.count(campaign.campaign_id) == {"answered": 50}
    assert sorted(await books.hosts_seen(campaign.campaign_id)) == hosts
    assert (await books.entries(campaign.campaign_id))[-1] == {"end": "complete"}
    assert (await books.campaign(campaign.campaign_id)).end_reason == "complete"


async def test_an_answer_stands_in_ledger_and_redis_as_the_contract_says(deps, running, fleet, start, gateway, books):
    [host_id, _] = await fleet.hosts(2)
    rows = [{"path": "/etc", "size": "4"}, {"path": "\x00", "size": ""}]
    async with running(deps):
        campaign = await start(label_ids=[1])
        await gateway.answer(host_id, answer_to(campaign.campaign_id, rows))
        await eventually(lambda: books.hosts_seen(campaign.campaign_id))
        await eventually(lambda: reaches(books, campaign.campaign_id, answered=1, pending=1))

    row = (await books.ledger(campaign.campaign_id))[host_id]
    [entry] = await books.entries(campaign.campaign_id)
    assert (row.row_count, row.truncated, row.error) == (2, False, None)
    assert row.stats == {"wall_time_ms": 1, "user_time": 2, "system_time": 3, "memory": 4}
    assert msgspec.json.decode(entry["rows"]) == rows
    assert (entry["host"], entry["outcome"], entry["error"]) == (str(host_id), "answered", "")
    assert (entry["row_count"], entry["truncated"]) == ("2", "0")
    assert msgspec.json.decode(entry["stats"]) == row.stats
    assert entry["settled_at"] == row.settled_at.isoformat()


async def test_the_first_answer_of_a_host_counts_and_every_other_is_a_duplicate(
    deps, running, fleet, start, gateway, books, counted
):
    [first, second] = await fleet.hosts(2)
    async with running(deps):
        campaign = await start(label_ids=[1])
        for text in ("one", "two", "three"):
            await gateway.answer(first, answer_to(campaign.campaign_id, [{"n": text}]))
        await gateway.answer(second, answer_to(campaign.campaign_id))
        await eventually(lambda: books.is_complete(campaign.campaign_id), timeout=30)
        await eventually(lambda: counted("duplicate") + counted("late") == 2)

    assert await books.count(campaign.campaign_id) == {"answered": 2}
    assert sorted(await books.hosts_seen(campaign.campaign_id)) == [first, second]
    assert msgspec.json.decode((await books.entries(campaign.campaign_id))[0]["rows"]) == [{"n": "one"}]


async def test_a_message_that_comes_again_changes_nothing(deps, running, fleet, start, gateway, books):
    hosts = await fleet.hosts(2)
    async with running(deps):
        campaign = await start(label_ids=[1])
    received = Received(gateway.batch(hosts[0], answer_to(campaign.campaign_id)), deps.clock())

    await on_campaign_answers.handle([[received]], deps)
    before = (await books.ledger(campaign.campaign_id), await books.entries(campaign.campaign_id))
    await on_campaign_answers.handle([[received]], deps)
    await on_campaign_answers.handle([[received, received], [received]], deps)

    assert (await books.ledger(campaign.campaign_id), await books.entries(campaign.campaign_id)) == before


async def test_a_host_whose_answer_cannot_be_settled_harms_none_that_shares_its_message(
    deps, running, fleet, start, gateway, books, monkeypatch
):
    hosts = await fleet.hosts(3)
    async with running(deps):
        campaign = await start(label_ids=[1])
    settle = on_campaign_answers.settle

    async def settle_all_but_one(session, rows, received, limits, *, now):
        if any(item.batch.host_id == hosts[1] for item in received):
            raise ValueError(hosts[1])
        return await settle(session, rows, received, limits, now=now)

    monkeypatch.setattr(on_campaign_answers, "settle", settle_all_but_one)
    message = [Received(gateway.batch(host, answer_to(campaign.campaign_id)), deps.clock()) for host in hosts]

    with pytest.raises(ValueError, match=str(hosts[1])):
        await on_campaign_answers.handle([message], deps)

    states = await books.states(campaign.campaign_id)
    assert states == {hosts[0]: "answered", hosts[1]: "pending", hosts[2]: "answered"}


async def test_no_transaction_has_more_hosts_than_are_settled_at_once(
    deps, running, fleet, start, gateway, books, monkeypatch
):
    hosts = await fleet.hosts(5)
    async with running(deps):
        campaign = await start(label_ids=[1])
    sizes = []
    settle = on_campaign_answers.settle

    async def settle_counted(session, rows, received, limits, *, now):
        sizes.append(len(received))
        return await settle(session, rows, received, limits, now=now)

    monkeypatch.setattr(on_campaign_answers, "settle", settle_counted)
    monkeypatch.setattr(on_campaign_answers, "HOSTS", 2)
    message = [Received(gateway.batch(host, answer_to(campaign.campaign_id)), deps.clock()) for host in hosts]

    await on_campaign_answers.handle([message], deps)

    assert sizes == [2, 2, 1]
    assert await books.count(campaign.campaign_id) == {"answered": 5}


async def test_one_batch_alone_is_understood_too(deps, running, fleet, start, gateway, books):
    [host_id] = await fleet.hosts(1)
    async with running(deps):
        campaign = await start(label_ids=[1])
        body = msgspec.json.encode(gateway.batch(host_id, answer_to(campaign.campaign_id)))
        await gateway.bus.js.publish("answers.campaign.v1.0", body)
        await eventually(lambda: books.is_complete(campaign.campaign_id), timeout=30)

    assert await books.count(campaign.campaign_id) == {"answered": 1}


async def test_answers_to_several_campaigns_in_one_write_are_all_settled(deps, running, fleet, start, gateway, books):
    [host_id] = await fleet.hosts(1)
    async with running(deps):
        campaigns = [(await start(label_ids=[1])).campaign_id for _ in range(3)]
        await gateway.answer(host_id, *map(answer_to, campaigns))
        for campaign_id in campaigns:
            await eventually(lambda which=campaign_id: books.is_complete(which), timeout=30)

    assert [await books.count(campaign_id) for campaign_id in campaigns] == [{"answered": 1}] * 3


async def test_hosts_that_were_not_asked_and_campaigns_that_never_were_are_counted_and_nothing_else(
    deps, running, fleet, start, gateway, books, counted
):
    [host_id, stranger] = await fleet.hosts(2)
    async with running(deps):
        campaign = await start(host_ids=[host_id])
        await gateway.answer(stranger, answer_to(campaign.campaign_id))
        await gateway.answer(stranger, answer_to(999_999))
        await eventually(lambda: (counted("foreign"), counted("unknown")) == (1, 1), timeout=30)
        await eventually(lambda: nothing_waits(gateway))

    assert await books.states(campaign.campaign_id) == {host_id: "pending"}
    assert await books.entries(campaign.campaign_id) == []


async def test_poison_is_buried_and_harms_no_other(deps, running, fleet, start, gateway, books, bus_for):
    hosts = await fleet.hosts(3)
    async with running(deps):
        campaign = await start(label_ids=[1])
        await gateway.answer(hosts[0], answer_to(campaign.campaign_id))
        await gateway.publish(hosts[1], b"no json")
        await gateway.publish(hosts[1], msgspec.json.encode(msgspec.structs.replace(gateway.batch(hosts[1]), v=2)))
        await gateway.answer(hosts[2], answer_to(campaign.campaign_id))
        await eventually(lambda: reaches(books, campaign.campaign_id, answered=2, pending=1), timeout=30)
        await eventually(lambda: nothing_waits(gateway))
    provision = await bus_for("provision")

    assert (await provision.js.stream_info("DEAD")).state.messages == 2


async def test_failures_and_denylisted_queries_are_answers_without_rows(deps, running, fleet, start, gateway, books):
    [failed, denied, silent] = await fleet.hosts(3)
    async with running(deps):
        campaign = await start(label_ids=[1])
        number = campaign.campaign_id
        await gateway.answer(failed, answer_to(number, status=1, message="no such table: \x00x"))
        await gateway.answer(denied, answer_to(number, [], status=1, message="distributed query is denylisted"))
        await gateway.answer(silent, answer_to(number, status=78, stats=msgspec.Raw(b"{}")))
        await eventually(lambda: books.is_complete(number), timeout=30)

    rows = await books.ledger(number)
    entries = {entry["host"]: entry for entry in await books.entries(number) if "host" in entry}
    assert [rows[host_id].state for host_id in (failed, denied, silent)] == ["failed", "denylisted", "failed"]
    assert rows[failed].error == "no such table: x"
    assert rows[silent].error == "query failed with status 78"
    assert rows[silent].stats is None
    assert entries[str(failed)]["rows"] == "[]"
    assert entries[str(silent)]["error"] == "query failed with status 78"
    assert entries[str(silent)]["stats"] == "null"


async def test_rows_beyond_the_limits_of_a_host_are_cut_and_said_to_be(deps, running, fleet, start, gateway, books):
    [many, large] = await fleet.hosts(2)
    async with running(with_limits(deps, rows=3, rows_bytes=300)):
        campaign = await start(label_ids=[1])
        await gateway.answer(many, answer_to(campaign.campaign_id, [{"n": str(n)} for n in range(9)]))
        await gateway.answer(large, answer_to(campaign.campaign_id, [{"n": "x" * 100} for _ in range(3)]))
        await eventually(lambda: books.is_complete(campaign.campaign_id), timeout=30)

    rows = await books.ledger(campaign.campaign_id)
    entries = {entry["host"]: entry for entry in await books.entries(campaign.campaign_id) if "host" in entry}
    assert [(rows[host].state, rows[host].row_count, rows[host].truncated) for host in (many, large)] == [
        ("answered", 3, True),
        ("answered", 2, True),
    ]
    assert [(entries[str(host)]["row_count"], entries[str(host)]["truncated"]) for host in (many, large)] == [
        ("3", "1"),
        ("2", "1"),
    ]
    assert msgspec.json.decode(entries[str(many)]["rows"]) == [{"n": "0"}, {"n": "1"}, {"n": "2"}]


async def test_rows_beyond_the_limit_of_a_campaign_are_dropped_and_the_answer_counts(
    make_deps, running, fleet, start, gateway, books
):
    hosts = await fleet.hosts(3)
    async with running(await make_deps(campaign_bytes=500)):
        campaign = await start(label_ids=[1])
        for host_id in hosts:
            await gateway.answer(host_id, answer_to(campaign.campaign_id, [{"n": "x" * 200}]))
        await eventually(lambda: books.is_complete(campaign.campaign_id), timeout=30)

    rows = await books.ledger(campaign.campaign_id)
    assert sorted((row.state, row.row_count, row.truncated) for row in rows.values()) == [
        ("answered", 0, True),
        ("answered", 1, False),
        ("answered", 1, False),
    ]


async def test_what_the_gateway_had_to_cut_is_truncated(deps, running, fleet, start, gateway, books):
    [host_id] = await fleet.hosts(1)
    async with running(deps):
        campaign = await start(label_ids=[1])
        await gateway.answer(host_id, answer_to(campaign.campaign_id, truncated=True))
        await eventually(lambda: books.is_complete(campaign.campaign_id), timeout=30)

    assert (await books.ledger(campaign.campaign_id))[host_id].truncated


async def test_the_time_of_the_stream_decides_what_is_late(deps, running, fleet, start, gateway, books, counted):
    [in_time, late] = await fleet.hosts(2)
    async with running(deps):
        campaign = await start(label_ids=[1])
    deadline = (await books.campaign(campaign.campaign_id)).deadline
    answers = [
        Received(gateway.batch(in_time, answer_to(campaign.campaign_id)), deadline),
        Received(gateway.batch(late, answer_to(campaign.campaign_id)), deadline + timedelta(microseconds=1)),
    ]
    deps.clock.move(days=2)  # handled long after both

    await on_campaign_answers.handle([answers], deps)

    assert await books.states(campaign.campaign_id) == {in_time: "answered", late: "pending"}
    assert counted("late") == 1


async def test_an_answer_after_the_end_changes_nothing(deps, running, fleet, start, gateway, books, counted):
    [host_id] = await fleet.hosts(1)
    async with running(deps):
        campaign = await start(kind="synchronous", wait_seconds=0.5, label_ids=[1])
        await eventually(lambda: books.is_complete(campaign.campaign_id), timeout=30)
        await gateway.answer(host_id, answer_to(campaign.campaign_id))
        await eventually(lambda: counted("late") == 1, timeout=30)

    assert await books.states(campaign.campaign_id) == {host_id: "expired"}
    assert await books.entries(campaign.campaign_id) == [{"end": "deadline"}]


async def test_gateways_hear_who_is_settled_and_nothing_once_it_is_over(deps, running, fleet, start, gateway, books):
    hosts = await fleet.hosts(5)
    async with running(deps):
        campaign = await start(label_ids=[1])
        number = campaign.campaign_id
        for host_id in hosts[:3]:
            await gateway.answer(host_id, answer_to(number))
        await eventually(lambda: reaches_done(deps, number, set(hosts[:3])), timeout=30)
        for host_id in hosts[3:]:
            await gateway.answer(host_id, answer_to(number))
        await eventually(lambda: books.is_complete(number), timeout=30)

    assert await deps.bucket.get(command_key(number)) is None
    assert await done(deps.bucket, number) == set()


async def reaches(books, campaign_id: int, **counts: int) -> bool:
    return await books.count(campaign_id) == counts


async def reaches_done(deps, campaign_id: int, hosts: set[int]) -> bool:
    return await done(deps.bucket, campaign_id) == hosts


async def nothing_waits(gateway) -> bool:
    return (await gateway.bus.js.stream_info("ANSWERS")).state.messages == 0
