"""Which clients are told to close their connection, and on which connections."""

from __future__ import annotations

import pytest

from ..conftest import BOTH_ROADS, House

pytestmark = BOTH_ROADS


@pytest.mark.parametrize("agent", ["osquery/4.1.0", "osquery/5.17.0", "osquery/5.23.0-38-ga5b14f63d", "osquery/5.23.9"])
async def test_clients_that_never_reuse_a_connection_are_told_to_close_it(house: House, agent: str) -> None:
    reply = await house.client.post("https://gateway/nowhere", headers={"User-Agent": agent})

    assert reply.headers.get_list("connection") == ["close"]


@pytest.mark.parametrize(
    "agent", ["osquery/4.0.2", "osquery/3.4.0", "osquery/5.24.0", "osquery/6.0.0", "orbit", "", "osquery/"]
)
async def test_all_others_may_keep_it(house: House, agent: str) -> None:
    reply = await house.client.post("https://gateway/nowhere", headers={"User-Agent": agent})

    assert "connection" not in reply.headers


async def test_a_balancers_connection_is_kept_whatever_host_it_speaks_for(house: House) -> None:
    for path in ("/nowhere", "/api/v1/osquery/config", "/api/fleet/orbit/config"):
        reply = await house.client.post(f"http://gateway{path}", headers={"User-Agent": "osquery/5.17.0"})

        assert "connection" not in reply.headers
