"""A host whose flags name a path that nobody has is sent to this door: it must not take the refusal for a success."""

from __future__ import annotations

import gzip

import pytest

from ..conftest import Client

PATHS = [
    "/api/latest/osquery/distributed/read",
    "/api/v1/osquery",
    "/api/osquery/v1/log",
    "/osquery/log",
    "/api/v1/fleet/hosts",
    "/api/v1/fleet/version/log",
    "/log",
]


@pytest.mark.parametrize("path", PATHS)
async def test_a_post_to_a_path_that_takes_none_is_refused_with_error(client: Client, path: str) -> None:
    answer = await client.post(path, content=b'{"node_key":"k","log_type":"result","data":[{}]}')

    assert answer.status_code in {401, 404, 405}, answer.text
    assert answer.json()["error"] in {"unauthorized", "not_found", "method_not_allowed"}
    assert answer.json()["message"]


async def test_so_is_a_body_that_is_not_even_read(client: Client) -> None:
    broken = await client.post(PATHS[0], content=gzip.compress(b"{}")[:-9], headers={"content-encoding": "gzip"})

    assert (broken.status_code, broken.json()["error"]) == (400, "bad_request")
