"""What most would write first: a route per path, models for bodies, a publish per log line.

Hosts are found in the gateway's own cache and campaigns in its own table, so that only the way there differs.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Literal

from agent_gateway.domain.campaigns import Campaigns
from agent_gateway.domain.hosts import Host, HostCache
from agent_gateway.domain.seen import SeenHosts
from fastapi import FastAPI, HTTPException
from flotilla_common.bus.connection import Bus
from flotilla_common.contracts.logs import subject
from flotilla_common.contracts.node_keys import hash_node_key
from flotilla_common.contracts.shards import shard_of
from pydantic import BaseModel


class ReadBody(BaseModel):
    """Body of `distributed/read`."""

    node_key: str


class ReadAnswer(BaseModel):
    """Answer to it."""

    queries: dict[str, str]


class ConfigBody(BaseModel):
    """Body of `config`."""

    node_key: str
    etag: str | None = None


class LogBody(BaseModel):
    """Body of `log`."""

    node_key: str
    log_type: Literal["result", "status"]
    data: list[dict[str, Any]]


@dataclass
class State:
    """What the handlers know."""

    hosts: HostCache
    campaigns: Campaigns
    seen: SeenHosts
    bus: Bus
    config: dict[str, Any]
    etag: str

    def host_of(self, node_key: str) -> Host:
        """Authenticate."""
        host = self.hosts.find(hash_node_key(node_key))
        if host is None:
            raise HTTPException(401, {"error": "invalid node key", "node_invalid": True})
        self.seen.add(host.host_id)
        return host


def create_naive(state: State) -> FastAPI:
    """Return the application."""
    app = FastAPI(openapi_url=None)

    @app.post("/api/v1/osquery/distributed/read")
    async def distributed_read(body: ReadBody) -> ReadAnswer:
        host = state.host_of(body.node_key)
        if state.campaigns.has_open(host.host_id):
            raise HTTPException(501, "no campaign is ever open here")
        return ReadAnswer(queries={})

    @app.post("/api/v1/osquery/config")
    async def config(body: ConfigBody) -> dict[str, Any]:
        state.host_of(body.node_key)
        return {"etag": "ok"} if body.etag == state.etag else state.config

    @app.post("/api/v1/osquery/log")
    async def log(body: LogBody) -> dict[str, Any]:
        host = state.host_of(body.node_key)
        where = subject(body.log_type, shard_of(host.host_id))
        lines = [json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in body.data]
        acks = [await state.bus.js.publish_async(where, line) for line in lines]
        await asyncio.gather(*acks)
        return {}

    return app
