"""The plain port, with the shortcut and without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from agent_gateway.app import create_app
from agent_gateway.deps import Deps
from agent_gateway.listeners import listen_plain
from flotilla_common.testing import eventually
from flotilla_stack.servers.ports import choose_port

from ..conftest import House
from ..listening import is_listening
from .plain import PATIENCE, Plain


@pytest.fixture(params=[True, False], ids=["shortcut", "whole way"])
async def plain(house: House, request: pytest.FixtureRequest) -> AsyncIterator[Plain]:
    port = choose_port()
    door = create_app(Deps(house.gateway), is_hot=request.param)
    serving = asyncio.create_task(listen_plain(door, "127.0.0.1", port, PATIENCE))
    await eventually(lambda: is_listening(port), timeout=30.0)
    yield Plain(house, port, door, serving)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
