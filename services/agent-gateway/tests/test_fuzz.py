"""Whatever comes to an agent endpoint: no 5xx from input alone, no failure without `error`, no memory held."""

from __future__ import annotations

import gzip
import json
import time
from typing import Any

import pytest
from flotilla_common.contracts.carves import CarveSession, request_digest
from flotilla_common.testing import eventually
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import BOTH_ROADS, SECRET, House

pytestmark = BOTH_ROADS

PATHS = ("enroll", "config", "distributed/read", "distributed/write", "log", "carve/begin", "carve/block")
KEY = "@the key of a host@"
SESSION = "@the session of its carve@"
FUZZ = settings(
    max_examples=80,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

NAMES = st.sampled_from(
    [
        "fleet_distributed_query_5",
        "fleet_distributed_query_5_1_abc",
        "fleet_distributed_query_99999999999999999999",
        "fleet_detail_query_os",
        "fleet_label_query_6",
        "fleet_policy_query_x",
        "fleet_no_policies_wildcard",
        "",
        "mine",
    ]
)
OF_ENROLL = ["enroll_secret", "host_identifier", "platform_type", "host_details", "system_info", "osquery_info"]
OF_OTHERS = ["node_key", "etag", "log_type", "data", "queries", "statuses", "messages", "stats", "memory"]
OF_CARVES = ["block_count", "block_size", "carve_size", "carve_id", "request_id", "block_id", "session_id"]
MEMBERS = st.sampled_from(OF_ENROLL + OF_OTHERS + OF_CARVES)
RAW_SCALARS = st.sampled_from(
    [
        b"1e999",
        b"-0",
        b"9" * 6000,
        b"1." + b"3" * 6000,
        b"NaN",
        b"Infinity",
        b'"\\ud800"',
        b'"\xff"',
        b'"a\x01b"',
        b'"\\u0000"',
        b"tru",
        b"18446744073709551616",
        b'"' + b"x" * 5000 + b'"',
        b"[" * 2000 + b"]" * 2000,
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from([KEY, SESSION, SECRET, "result", "status", "A-1", "0", "1", "YQ=="])
)
TEXTS = SCALARS.map(lambda value: json.dumps(value).encode()) | RAW_SCALARS


def array(items: list[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"


def mapping(members: list[tuple[str, bytes]]) -> bytes:
    return b"{" + b",".join(json.dumps(name).encode() + b":" + value for name, value in members) + b"}"


def one_level(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    members = st.lists(st.tuples(NAMES | MEMBERS | st.text(max_size=5), inner), max_size=5)
    return st.lists(inner, max_size=5).map(array) | members.map(mapping)


VALUES = st.recursive(TEXTS, one_level, max_leaves=15)
OWN = [("node_key", KEY), ("session_id", SESSION), ("request_id", "A-1"), ("carve_id", "A-1")]
PLAUSIBLE = st.lists(st.tuples(MEMBERS, VALUES), max_size=6).map(
    lambda members: mapping([*members, *((name, json.dumps(text).encode()) for name, text in OWN)])
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A body that a host could nearly have sent, or anything at all; sometimes damaged."""
    body = draw(PLAUSIBLE | PLAUSIBLE | VALUES | st.binary(max_size=200))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.binary(max_size=3)) + body[at + draw(st.integers(0, 3)) :]
    return body


HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Authorization": st.sampled_from(["NodeKey ", "NodeKey x", f"NodeKey {KEY}", "Bearer x", "NodeKey", ""]),
        "User-Agent": st.sampled_from(["osquery/5.17.0", "osquery/x", "", "osquery/99999.1.1"]),
        "X-Forwarded-For": st.sampled_from(["192.0.2.1", "x", ",,", "::1, 192.0.2.1", "1" * 5000]),
        "Content-Type": st.sampled_from(["text/html", "application/json", ""]),
    },
)
PACKING = st.sampled_from(["no", "no", "no", "gzip", "gzip twice", "gzip cut", "gzip claimed"])


def packed(body: bytes, packing: str) -> tuple[bytes, dict[str, str]]:
    """Compress a body, or pretend to."""
    if packing == "no":
        return body, {}
    if packing != "gzip claimed":
        body = gzip.compress(body, 1)
    if packing == "gzip twice":
        body += body
    return (body[:-5] if packing == "gzip cut" else body), {"Content-Encoding": "gzip"}


@pytest.fixture
async def key(house: House) -> str:
    """The key of a host that is asked by a campaign."""
    await house.live_query.start(5, [5])
    await eventually(house.gateway.campaigns.open_ids)
    return house.inventory.add_host(5)


@pytest.fixture
def session(house: House) -> str:
    """The session id of a carve of this host."""
    carve = CarveSession(1, 5, request_digest("A-1"), 2, 100, int(time.time()) + 3600)
    return house.live_query.sign(carve)


def assert_is_spoken_to_a_host(reply: Any) -> None:
    body = reply.json()
    assert isinstance(body, dict)
    assert reply.status_code < 500, body
    assert (reply.status_code == 200) == ("error" not in body)
    assert isinstance(body.get("error", ""), str)
    assert body.get("node_invalid", True) is True


@pytest.mark.parametrize("path", PATHS)
@FUZZ
@given(body=bodies(), headers=HEADERS, packing=PACKING)
async def test_no_input_alone_makes_a_failure_without_error_or_a_5xx(
    house: House, key: str, session: str, path: str, body: bytes, headers: dict[str, str], packing: str
) -> None:
    body = body.replace(KEY.encode(), key.encode()).replace(SESSION.encode(), session.encode())
    content, encoding = packed(body, packing)
    sent = {name: value.replace(KEY, key) for name, value in headers.items()}

    reply = await house.post(path, content, headers=sent | encoding)

    assert_is_spoken_to_a_host(reply)
    assert house.gateway.memory.used == 0


@FUZZ
@given(
    path=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#?%"), max_size=30),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"]),
    query=st.text(max_size=20),
)
async def test_no_path_of_hosts_answers_without_error(house: House, path: str, method: str, query: str) -> None:
    reply = await house.client.request(method, "/api/osquery/" + path, params={"q": query}, content=b"{}")

    assert_is_spoken_to_a_host(reply)
