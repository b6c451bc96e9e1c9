"""The hot road of the tests is that of the servers."""

from __future__ import annotations

from typing import Any

import pytest
from agent_gateway.hot.road import HotRoad

from .conftest import House


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_usual_requests_take_the_shortcuts(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    key = house.inventory.add_host()
    await house.read(key)  # the first one asks inventory for the key

    async def the_whole_way(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(HotRoad, "answer", the_whole_way)
    posts = {"log": {"log_type": "result", "data": [{"a": "1"}]}, "distributed/write": {"queries": {}}}

    assert await house.read(key) == {"queries": {}}
    for path, members in posts.items():
        assert (await house.post(path, {"node_key": key, **members})).json() == {}


async def test_what_comes_in_pieces_goes_the_whole_way(house: House) -> None:
    key = house.inventory.add_host()

    async def pieces() -> Any:
        for piece in (b'{"node_', b'key":"', key.encode(), b'"}'):
            yield piece

    for scheme in ("http", "https"):
        reply = await house.client.post(f"{scheme}://gateway/api/osquery/distributed/read", content=pieces())
        assert reply.json() == {"queries": {}}
