"""A campaign that costs more than it may is paused, with the answer that took it there, and says why."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import msgspec
import pytest
from flotilla_common.contracts.campaigns import Budget, PauseCampaignV1, command_key
from flotilla_common.contracts.overruns import CampaignOverBudgetV1
from flotilla_common.db.models.live_query import CampaignBudget, Outbox
from flotilla_common.errors import Invalid
from flotilla_common.testing import eventually
from live_query import metrics
from live_query.consumers import on_campaign_answers
from live_query.domain.budgets import HOST_CPU_MS
from live_query.domain.settling import Received
from live_query.store import budgets, campaigns

from ..conftest import answer_to, with_limits

ROWS = [{"n": "1"}, {"n": "2"}]


@pytest.fixture
def spent(database):
    """What a campaign has cost."""

    async def look(campaign_id: int) -> dict[str, int]:
        [row] = [row for row in await database.rows(CampaignBudget) if row.campaign_id == campaign_id]
        return {name: getattr(row, name) for name in asdict(budgets.Spent())}

    return look


@pytest.fixture
def settle(gateway, clock):
    """Settle answers as one message that came now; `settle(deps, (host, answer), ...)`."""

    async def take(deps, *answers) -> None:
        received = [Received(gateway.batch(host_id, answer), clock()) for host_id, answer in answers]
        await on_campaign_answers.handle([received], deps)

    return take


@pytest.fixture
def begin(deps, running, start):
    """Start a campaign with a budget; nothing runs afterwards but what the test calls."""

    async def ask(**limits: int) -> int:
        async with running(deps):
            return (await start(label_ids=[1], budget=Budget(**limits))).campaign_id

    return ask


def failing(campaign_id: int, message: str = "no such table: x"):
    return answer_to(campaign_id, [], status=1, message=message)


@pytest.mark.parametrize(
    ("limits", "answer", "reason"),
    [
        ({"max_rows": 3}, answer_to(0, ROWS), "over budget: max_rows is 3, 4 came"),
        ({"max_bytes": 38}, answer_to(0, ROWS), "over budget: max_bytes is 38, 42 came"),
        ({"max_cpu_ms": 9}, answer_to(0), "over budget: max_cpu_ms is 9, 10 came"),
        ({"max_failures": 1}, failing(0), "over budget: max_failures is 1, 2 came"),
        (
            {"max_denylisted": 1, "max_failures": 0},
            failing(0, "distributed query is denylisted"),
            "over budget: max_denylisted is 1, 2 came",
        ),
        (
            {"max_rows": 3, "max_cpu_ms": 9},
            answer_to(0, ROWS),
            "over budget: max_rows is 3, 4 came; max_cpu_ms is 9, 10 came",
        ),
    ],
)
async def test_the_answer_that_goes_above_a_limit_pauses_it(deps, fleet, begin, settle, books, limits, answer, reason):
    first, second, _ = await fleet.hosts(3)
    number = await begin(**limits)
    budget = reason.split("max_")[1].split()[0]
    pauses = metrics.BUDGET_PAUSES.labels(budget)._value.get()
    answer = msgspec.structs.replace(answer, campaign_id=number)
    await settle(deps, (first, answer))
    before = (await books.campaign(number)).pause_reason
    asked_before = await deps.bucket.get(command_key(number))
    await settle(deps, (second, answer))
    campaign = await books.campaign(number)

    assert (before, campaign.pause_reason) == (None, reason)
    assert campaign.paused_at is not None
    assert asked_before is not None
    assert await deps.bucket.get(command_key(number)) is None
    assert metrics.BUDGET_PAUSES.labels(budget)._value.get() == pauses + 1
    assert (await books.count(number))["pending"] == 1


async def test_repeats_late_foreign_and_lost_answers_cost_nothing(deps, fleet, begin, settle, spent):
    [host] = await fleet.hosts(1)
    number = await begin()
    for _ in range(2):
        await settle(
            deps, (host, answer_to(number, ROWS)), (host, answer_to(number, ROWS)), (host + 9, answer_to(number))
        )

    assert await spent(number) == {"rows": 2, "bytes": 21, "cpu_ms": 5, "failures": 0, "denylisted": 0}


@pytest.mark.parametrize(
    ("stats", "cpu_ms"),
    [
        ('{"user_time":-5,"system_time":7}', 7),
        ('{"user_time":1e17,"system_time":-1e17}', HOST_CPU_MS),
        ('{"user_time":599999,"system_time":599999}', HOST_CPU_MS),
        ('{"user_time":1e400,"system_time":3}', 0),
        ('{"user_time":123456789012345678901234567890,"system_time":4}', 4),
        ('{"user_time":"999999","system_time":true}', 0),
        ('{"user_time":null,"system_time":[1]}', 0),
        ('{"user_time":0.9,"system_time":0.9}', 1),
        ("[]", 0),
        ("null", 0),
        ('"text"', 0),
    ],
)
async def test_hostile_stats_cost_no_more_than_a_host_can_and_never_less_than_nothing(
    deps, fleet, begin, settle, spent, books, stats, cpu_ms
):
    host, _ = await fleet.hosts(2)
    number = await begin(max_cpu_ms=HOST_CPU_MS)
    await settle(deps, (host, answer_to(number, stats=msgspec.Raw(stats.encode()))))

    assert (await spent(number))["cpu_ms"] == cpu_ms
    assert (await books.campaign(number)).paused_at is None


async def test_rows_that_are_not_kept_cost_all_the_same(deps, fleet, begin, settle, spent):
    [host] = await fleet.hosts(1)
    number = await begin()
    await settle(with_limits(deps, rows=1), (host, answer_to(number, ROWS)))

    assert (await spent(number))["rows"] == 2
    assert (await spent(number))["bytes"] == 21


async def test_answers_that_race_on_two_replicas_are_each_counted_once_and_pause_it_once(
    make_deps, deps, fleet, begin, settle, spent, books
):
    hosts = await fleet.hosts(40)
    number = await begin(max_rows=9)
    replicas = [deps, await make_deps()]
    pauses = metrics.BUDGET_PAUSES.labels("rows")._value.get()
    await asyncio.gather(*(settle(replica, (host, answer_to(number, ROWS))) for host in hosts for replica in replicas))
    reason = (await books.campaign(number)).pause_reason

    assert (await spent(number))["rows"] == 80
    assert reason == "over budget: max_rows is 9, 10 came"  # the first that went above; the others were in flight
    assert metrics.BUDGET_PAUSES.labels("rows")._value.get() == pauses + 1


async def test_many_campaigns_in_one_message_do_not_block_each_other(
    make_deps, deps, running, fleet, start, settle, spent
):
    hosts = await fleet.hosts(10)
    async with running(deps):
        numbers = [(await start(label_ids=[1])).campaign_id for _ in range(6)]
    replicas = [deps, await make_deps()]
    batches = [
        settle(replica, *((host, answer_to(number, ROWS)) for number in (numbers if even else reversed(numbers))))
        for host in hosts
        for even, replica in enumerate(replicas)
    ]
    await asyncio.gather(*batches)

    assert [(await spent(number))["rows"] for number in numbers] == [20] * 6


async def test_a_crash_before_the_commit_loses_neither_count_nor_pause(
    deps, fleet, begin, settle, spent, books, monkeypatch
):
    host, _ = await fleet.hosts(2)
    number = await begin(max_rows=1)

    async def crash(*_: object) -> None:
        raise MemoryError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(campaigns, "pause", crash)
        with pytest.raises(MemoryError):
            await settle(deps, (host, answer_to(number, ROWS)))
    between = (await spent(number))["rows"], (await books.count(number))["pending"]
    await settle(deps, (host, answer_to(number, ROWS)))  # the bus sends it again

    assert between == (0, 2)
    assert (await spent(number))["rows"] == 2
    assert (await books.campaign(number)).pause_reason == "over budget: max_rows is 1, 2 came"


async def test_a_pause_that_was_not_told_before_a_crash_is_told_by_the_keeper(
    deps, running, fleet, begin, settle, monkeypatch
):
    host, _ = await fleet.hosts(2)
    number = await begin(max_rows=1)

    async def crash(*_: object) -> None:
        raise MemoryError("killed")

    monkeypatch.setattr(on_campaign_answers, "silence_or_leave", crash)
    with pytest.raises(MemoryError):
        await settle(deps, (host, answer_to(number, ROWS)))
    asked_after_the_crash = await deps.bucket.get(command_key(number))
    async with running(deps):
        await eventually(lambda: is_silent(deps, number), timeout=30)

    assert asked_after_the_crash is not None


async def is_silent(deps, number: int) -> bool:
    return await deps.bucket.get(command_key(number)) is None


async def test_one_above_its_budget_goes_on_with_a_higher_limit_alone(
    deps, running, fleet, begin, settle, admin, books, spent
):
    first, second, _ = await fleet.hosts(3)
    number = await begin(max_rows=1)
    await settle(deps, (first, answer_to(number, ROWS)))
    async with running(deps):
        for budget in (None, Budget(max_rows=1), Budget(max_rows=5, max_bytes=20)):
            with pytest.raises(Invalid, match=r"over budget: max_.* goes on with a higher limit alone"):
                await admin.request(PauseCampaignV1(campaign_id=number, paused=False, budget=budget))
        refused = await books.campaign(number)
        higher = PauseCampaignV1(campaign_id=number, paused=False, budget=Budget(max_rows=3))
        changed = [(await admin.request(higher)).changed for _ in range(2)]
        asked = await deps.bucket.get(command_key(number))
    await settle(deps, (second, answer_to(number, ROWS)))

    assert refused.pause_reason == "over budget: max_rows is 1, 2 came"
    assert changed == [True, False]
    assert asked is not None
    assert (await books.campaign(number)).pause_reason == "over budget: max_rows is 3, 4 came"
    assert (await spent(number))["rows"] == 4


async def test_limits_of_a_running_one_are_changed_in_time_and_never_below_what_it_has_spent(
    deps, running, fleet, begin, settle, admin, books, database
):
    first, second, _ = await fleet.hosts(3)
    number = await begin(max_rows=3)
    await settle(deps, (first, answer_to(number, ROWS)))
    async with running(deps):
        for budget in (Budget(max_rows=1), Budget(max_rows=9, max_bytes=20)):
            with pytest.raises(Invalid, match=r"over budget: max_.* goes on with a higher limit alone"):
                await admin.request(PauseCampaignV1(campaign_id=number, paused=False, budget=budget))
        higher = PauseCampaignV1(campaign_id=number, paused=False, budget=Budget(max_rows=4))
        changed = [(await admin.request(higher)).changed for _ in range(2)]
        command = await deps.bucket.get(command_key(number))
    await settle(deps, (second, answer_to(number, ROWS)))

    assert changed == [True, False]
    assert command is not None
    assert [(row.max_rows, row.max_bytes, row.rows) for row in await database.rows(CampaignBudget)] == [(4, None, 4)]
    assert (await books.campaign(number)).paused_at is None


async def test_who_paused_it_by_hand_still_needs_a_higher_limit_when_answers_went_above(
    deps, running, fleet, begin, settle, admin, books
):
    host, _ = await fleet.hosts(2)
    number = await begin(max_rows=1)
    async with running(deps):
        await admin.request(PauseCampaignV1(campaign_id=number, paused=True, reason="lunch"))
        await settle(deps, (host, answer_to(number, ROWS)))
        with pytest.raises(Invalid, match="max_rows is 1, 2 came"):
            await admin.request(PauseCampaignV1(campaign_id=number, paused=False))

    assert (await books.campaign(number)).pause_reason == "lunch"


async def test_the_last_answer_completes_it_and_pauses_nothing(deps, running, fleet, begin, settle, books, database):
    first, second = await fleet.hosts(2)
    one, both = await begin(max_rows=3), await begin(max_rows=1)
    pauses = metrics.BUDGET_PAUSES.labels("rows")._value.get()
    for host in (first, second):
        await settle(deps, (host, answer_to(one, ROWS)), (host, answer_to(both, ROWS)))
    paused = [(await books.campaign(number)).pause_reason for number in (one, both)]
    told = [row.subject for row in await database.rows(Outbox)]
    async with running(deps):
        for number in (one, both):
            await eventually(lambda number=number: books.is_complete(number), timeout=30)
    complete = [await books.campaign(number) for number in (one, both)]

    assert paused == [None, "over budget: max_rows is 1, 2 came"]
    assert [(row.end_reason, row.paused_at, row.pause_reason) for row in complete] == [("complete", None, None)] * 2
    assert told == [CampaignOverBudgetV1.subject]
    assert metrics.BUDGET_PAUSES.labels("rows")._value.get() == pauses + 1


async def test_the_pause_is_told_once_and_with_the_pause_alone(deps, fleet, begin, settle, database):
    hosts = await fleet.hosts(4)
    number = await begin(max_rows=3)
    for host in hosts[:3]:
        await settle(deps, (host, answer_to(number, ROWS)))
    told = [CampaignOverBudgetV1.model_validate_json(row.body) for row in await database.rows(Outbox)]

    assert [(one.campaign_id, one.budget, one.reason) for one in told] == [
        (number, "rows", "over budget: max_rows is 3, 4 came")
    ]
