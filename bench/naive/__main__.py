"""Run the plain handlers on the gateway's own listeners: `python -m bench.naive`."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import uvloop
from agent_gateway.domain.campaigns import Campaigns
from agent_gateway.domain.hosts import HostCache
from agent_gateway.domain.seen import SeenHosts
from agent_gateway.listeners import listen_plain, listen_tls
from agent_gateway.routes.door import Door
from agent_gateway.settings import Settings
from flotilla_common.bus.connection import connect
from granian.constants import Interfaces

from bench.fleet import records
from bench.gateway_process import KNOWN_HOSTS
from bench.naive.app import State, create_naive


async def run(settings: Settings, config: dict[str, Any]) -> None:
    """Fill the cache and listen until told to stop."""
    hosts = HostCache()
    for record in records(int(os.environ[KNOWN_HOSTS])):
        hosts.put(record)
    bus = await connect(settings)
    state = State(hosts, Campaigns(), SeenHosts(), bus, config, os.environ["BENCH_ETAG"])
    door = Door(create_naive(state))
    certificate = settings.certificate
    assert certificate is not None
    assert settings.tls_port is not None
    assert settings.plain_port is not None
    tls = listen_tls(door, settings.listen_host, settings.tls_port, certificate, interface=Interfaces.ASGINL)
    async with asyncio.TaskGroup() as listeners:
        listeners.create_task(tls)
        listeners.create_task(listen_plain(door, settings.listen_host, settings.plain_port, settings.patience))


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(run(Settings(), json.loads(Path(os.environ["BENCH_CONFIG_FILE"]).read_bytes())))
