"""Answers through one live-query: from the stream into Redis and the ledger, ten rows a host."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
from flotilla_common.bus.connection import Bus
from flotilla_common.bus.custody import CustodyPublisher
from flotilla_common.contracts.campaigns import (
    AnswerBatch,
    CampaignAnswer,
    StartCampaignV1,
    StopCampaignV1,
    answers_subject,
)
from flotilla_common.contracts.shards import any_shard

from bench.bodies import encoded, rows_and_stats
from bench.house import wait_until
from bench.live.place import LivePlace
from bench.memory import cpu_seconds
from bench.rows import Row

ANSWERING = 20_000  # hosts
HOSTS_A_MESSAGE = 2  # of gateways with little to do; busy ones put in dozens, which costs live-query less
ANSWERS_PER_SECOND = 4_000
ANSWERS = "flotilla_live_query_answers_total"
ROUNDS = 3


def rows(place: LivePlace) -> Iterator[Row]:
    """Let answers wait in the stream, then let live-query go on."""
    rates, costs = [], []
    for _ in range(ROUNDS):
        rate, cost = settle(place)
        print(f"    {rate:9.0f} hosts/s {cost:9.1f} us a host", flush=True)
        rates.append(rate)
        costs.append(cost)
    yield Row(
        "answers of 10 rows through one live-query core",
        statistics.median(rates),
        "/s",
        ANSWERS_PER_SECOND,
        f"{statistics.median(costs):.0f} us of it a host",
        at_least=True,
    )


def settle(place: LivePlace) -> tuple[float, float]:
    """Return hosts per second, and live-query's processor time per host in microseconds."""
    pid = place.live_query.target.pid
    campaign_id = place.as_service("admin_api", start)
    before = place.live_query.metric(ANSWERS)
    os.kill(pid, signal.SIGSTOP)
    try:
        place.as_service("agent_gateway", lambda bus: answer(bus, campaign_id))
    finally:
        os.kill(pid, signal.SIGCONT)
    begun, spent = time.monotonic(), cpu_seconds(pid)
    wait_until(lambda: place.live_query.metric(ANSWERS) - before >= ANSWERING, place.live_query, "all is settled")
    seconds, spent = time.monotonic() - begun, cpu_seconds(pid) - spent
    place.as_service("admin_api", lambda bus: bus.request(StopCampaignV1(campaign_id=campaign_id)))
    return ANSWERING / seconds, spent / ANSWERING * 1e6


async def start(bus: Bus) -> int:
    """Start a campaign; return its id."""
    deadline = datetime.now(UTC) + timedelta(hours=1)
    hosts = tuple(range(1, ANSWERING + 1))
    request = StartCampaignV1(
        sql="SELECT 1", query_id=None, user_id=1, kind="durable", host_ids=hosts, deadline=deadline
    )
    return (await bus.request(request)).campaign_id


async def answer(bus: Bus, campaign_id: int) -> None:
    """Have the stream take an answer of each host, as gateways do."""
    publisher = CustodyPublisher(bus)
    await publisher.open()
    found, stats = rows_and_stats()
    said = CampaignAnswer(campaign_id, 1, 0, "", msgspec.Raw(encoded(found)), msgspec.Raw(encoded(stats)))
    now, subject = int(time.time() * 1000), answers_subject(any_shard())
    batches = [AnswerBatch(1, host_id, 0, now, [said]) for host_id in range(1, ANSWERING + 1)]
    bodies = (msgspec.json.encode(batches[at : at + HOSTS_A_MESSAGE]) for at in range(0, ANSWERING, HOSTS_A_MESSAGE))
    await asyncio.gather(*(publisher.publish(subject, body) for body in bodies))
