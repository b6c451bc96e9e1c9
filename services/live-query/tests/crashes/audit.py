"""Whether the books are right when all is over: nothing open, nothing lost, nothing twice, nothing left behind."""

from __future__ import annotations

import json
from collections import Counter

from flotilla_common.contracts.campaigns import SWITCH_KEY
from flotilla_common.testing import eventually
from live_query.store import commands

from .world import PATIENCE_SECONDS, Entry, Told, World

ANSWERED = ("answered", "failed", "denylisted")
CPU_MS = 5  # of each answer: `conftest.answer_to`


async def all_are_closed(world: World, tales: list[Told]) -> None:
    """Wait until every campaign is closed and told of, and none is open beyond its deadline."""
    await world.until(
        "SELECT count(*) = :number FROM live_query.campaigns WHERE id = ANY(CAST(:ids AS bigint[]))"
        " AND status = 'complete' AND cleared_at IS NOT NULL",
        ids=[told.number for told in tales],
        number=len(tales),
    )
    late = "SELECT count(*) FROM live_query.campaigns WHERE status = 'open' AND deadline < now()"
    assert (await world.one(late))[0] == 0


async def the_ledger_adds_up(world: World, told: Told) -> None:
    """Each target is in the state that it must be in, and the account has each answer's cost once."""
    campaign = await world.one("SELECT * FROM live_query.campaigns WHERE id = :id", id=told.number)
    rows = await world.all("SELECT * FROM live_query.ledger WHERE campaign_id = :id", id=told.number)
    account = await world.one("SELECT * FROM live_query.budgets WHERE campaign_id = :id", id=told.number)
    states = {row.host_id: row.state for row in rows}
    counts = Counter(states.values())

    wrong = {host: (state, told.states[host]) for host, state in states.items() if state not in told.states[host]}
    assert not wrong, (told, wrong)
    assert states.keys() == told.states.keys()
    assert campaign.target_count == len(rows)
    assert campaign.end_reason == told.reason
    assert all(row.settled_at is not None for row in rows)
    assert account.rows == sum(row.row_count for row in rows)
    assert account.cpu_ms == CPU_MS * sum(counts[state] for state in ANSWERED)
    assert (account.failures, account.denylisted) == (counts["failed"], counts["denylisted"])
    overruns = await overruns_of(world, told.number)
    assert overruns == told.overruns


async def overruns_of(world: World, number: int) -> int:
    """Return how many pauses over a budget were told of; none waits to be sent."""
    await world.until("SELECT NOT EXISTS (SELECT FROM live_query.outbox)")
    return sum(json.loads(body)["campaign_id"] == number for body in await world.bodies("OVERRUNS"))


async def viewers_saw_it_once(world: World, told: Told) -> list[tuple[str, Entry]]:
    """Each host that answered is shown once, as the ledger has it, then the end, once; return all without the end."""
    shown = await world.shown(told.number)
    rows = await world.all("SELECT * FROM live_query.ledger WHERE campaign_id = :id", id=told.number)
    settled = {row.host_id: row for row in rows if row.state in ANSWERED}
    answers = [(place, entry) for place, entry in shown if "end" not in entry]

    assert [entry for _, entry in shown if "end" in entry] == [{"end": told.reason}]
    assert shown[-1][1] == {"end": told.reason}
    assert sorted(int(entry["host"]) for _, entry in answers) == sorted(settled)
    for _, entry in answers:
        row = settled[int(entry["host"])]
        assert (entry["outcome"], int(entry["row_count"])) == (row.state, row.row_count)
        assert entry["rows"] in world.sent[told.number, row.host_id]
        assert len(json.loads(entry["rows"])) == row.row_count
    return answers


async def time_passes(world: World, tales: list[Told]) -> None:
    """A day passes since the ends, then all of them are archived."""
    ids = [told.number for told in tales]
    await world.change(
        "UPDATE live_query.campaigns SET cleared_at = cleared_at - interval '30 hours'"
        " WHERE id = ANY(CAST(:ids AS bigint[]))",
        ids=ids,
    )
    await world.until(
        "SELECT count(*) = :number FROM live_query.campaigns WHERE id = ANY(CAST(:ids AS bigint[]))"
        " AND archived_at IS NOT NULL",
        ids=ids,
        number=len(ids),
    )


async def results_go(world: World, told: Told) -> None:
    """A month passes: the results of a campaign are removed."""
    change = "UPDATE live_query.campaigns SET ended_at = ended_at - interval '40 days' WHERE id = :id"
    await world.change(change, id=told.number)
    await world.until(
        "SELECT results_removed_at IS NOT NULL AND NOT EXISTS"
        " (SELECT FROM live_query.campaign_segments WHERE campaign_id = :id)"
        " FROM live_query.campaigns WHERE id = :id",
        id=told.number,
    )
    assert await world.objects_of(told.number) == 0


async def nothing_is_left(world: World) -> None:
    """Redis, bucket, object store and streams have nothing any more; DEAD has what was garbage."""

    async def is_so() -> bool:
        assert [key async for key in world.redis.scan_iter(match="campaign:*")] == []
        assert await commands.traces(world.looking.bus) == set()
        assert await world.looking.objects.names() == set()
        assert set(await world.looking.bucket.keys()) <= {SWITCH_KEY}
        for stream in ("ANSWERS", "CARVES"):  # work queues: what is acked is gone
            assert (await world.keeper.stream_info(stream)).state.messages == 0
        return True

    await eventually(is_so, timeout=PATIENCE_SECONDS)
    assert len(await world.bodies("DEAD")) == world.dead
