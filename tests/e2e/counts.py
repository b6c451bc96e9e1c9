"""What the servers behind the gateways count: messages of NATS, commands of Redis, transactions of Postgres."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import psycopg
import redis.asyncio

Counts = Mapping[str, int]

TRANSACTIONS = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
BACKEND_OPERATION = re.compile(r"^flotilla_gateway_backend_operations_total\{[^}]*\} (\S+)$", re.MULTILINE)


@dataclass
class Servers:
    """The servers, asked over connections that stay open: to ask costs the same each time."""

    http: httpx2.AsyncClient
    postgres: psycopg.AsyncConnection
    valkey: redis.asyncio.Redis
    monitoring_url: str
    metrics_urls: list[str]

    async def counts(self) -> dict[str, int]:
        """Return all counts since the servers started."""
        general = (await self.http.get(f"{self.monitoring_url}/varz")).json()
        accounts = (await self.http.get(f"{self.monitoring_url}/jsz?streams=true")).json()["account_details"]
        streams = [stream["state"] for account in accounts for stream in account["stream_detail"]]
        row = await (await self.postgres.execute(TRANSACTIONS)).fetchone()
        assert row is not None
        return {
            "NATS messages in": general["in_msgs"],
            "NATS messages out": general["out_msgs"],
            "NATS messages stored": sum(state["last_seq"] for state in streams),
            "Redis commands": (await self.valkey.info("stats"))["total_commands_processed"],
            "Postgres transactions": row[0],
        }

    async def backend_operations(self) -> float:
        """Return what the gateways say that they asked of others or published, all together."""
        texts = [(await self.http.get(url)).text for url in self.metrics_urls]
        return sum(float(count) for text in texts for count in BACKEND_OPERATION.findall(text))


@asynccontextmanager
async def servers_of(dev: dict[str, Any]) -> AsyncIterator[Servers]:
    """Connect to the servers of a running stack."""
    metrics_urls = [gateway["metrics_url"] for gateway in dev["gateways"]]
    async with (
        httpx2.AsyncClient() as http,
        await psycopg.AsyncConnection.connect(
            dev["postgres_url"].replace("postgresql+psycopg://", "postgresql://"), autocommit=True
        ) as postgres,
        redis.asyncio.from_url(dev["redis_url"]) as valkey,
    ):
        yield Servers(http, postgres, valkey, dev["nats_monitoring_url"], metrics_urls)


def between(before: Counts, after: Counts) -> dict[str, int]:
    """Return what was counted between two moments."""
    return {name: after[name] - before[name] for name in before}


def beyond_noise(counted: Counts, controls: list[Counts], slack: int) -> dict[str, tuple[int, list[int]]]:
    """Return what was counted more often than noise explains, with what the control runs counted.

    Noise is what the control runs differ by; `slack` is what may be added by chance.
    """
    found = {}
    for name, count in counted.items():
        idle = [control[name] for control in controls]
        if count > max(idle) + (max(idle) - min(idle)) + slack:
            found[name] = (count, idle)
    return found
