"""Whatever a logged-in admin sends to whatever route: an answer in the envelope, never a crash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from .test_every_route import BODIES, ROUTES, World, world  # noqa: F401 - a fixture

WHOLE = (
    b"",
    b"{",
    b"null",
    b"[]",
    b"1",
    b'"x"',
    b'{"": {}}',
    b'{"ids": NaN}',
    b"\xff\xfe",
    b"[" * 2000,
    b'{"a":' * 900 + b"1" + b"}" * 900,
    b"1" * 5000,
)
STRUCTURES: tuple[Any, ...] = (None, True, 1.5, [], [None], {}, {"a": {}})
ODD: tuple[Any, ...] = (*STRUCTURES, 2**63, 10**30, float("nan"), "", "x" * 5000, "\x00", "\ud800", "%_\\")
ENDS_THE_LOGIN = {"POST /logout", "DELETE /users/{user_id:int}/sessions", "DELETE /sessions/{session_id:int}"}
SHARES = 6  # tests that all routes are dealt out to: each needs servers made ready, which takes longer than a route
WITH_BODY = sorted(set(BODIES) - ENDS_THE_LOGIN)


def variations(value: Any) -> Iterator[Any]:
    """Each body in which one part is odd."""
    yield from STRUCTURES if isinstance(value, dict | list) else ODD
    if isinstance(value, dict):
        for key, member in value.items():
            yield from ({**value, key: odd} for odd in variations(member))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from ([*value[:index], odd, *value[index + 1 :]] for odd in variations(member))


async def crashes(client, admin, route: str, url: str, bodies: Iterator[bytes]) -> list[tuple[bytes, int, str]]:
    method, found = route.split(" ", maxsplit=1)[0], []
    for body in bodies:
        answer = await client.request(method, url, headers=admin.headers, content=body)
        # 503: inventory and live-query do not run here
        if (answer.status_code >= 500 and answer.status_code != 503) or not is_enveloped(answer):
            found.append((body[:100], answer.status_code, answer.text[:200]))
    return found


def is_enveloped(answer) -> bool:
    return answer.is_success or {"message", "uuid"} <= set(answer.json())


@pytest.mark.parametrize("share", range(SHARES))
async def test_no_body_as_a_whole_makes_a_route_crash(client, admin, world, share):  # noqa: F811
    routes = [route for route in ROUTES if route not in ENDS_THE_LOGIN][share::SHARES]

    found = {
        route: await crashes(client, admin, route, f"/api/latest/fleet{world.path(route)}", iter(WHOLE))
        for route in routes
    }

    assert {route: crashed for route, crashed in found.items() if crashed} == {}


@pytest.mark.parametrize("route", WITH_BODY)
async def test_no_odd_part_of_a_body_makes_it_crash(client, admin, world, route):  # noqa: F811
    url = f"/api/latest/fleet{world.path(route)}"
    bodies = (json.dumps(body).encode() for body in variations(BODIES[route]))

    assert await crashes(client, admin, route, url, bodies) == []
