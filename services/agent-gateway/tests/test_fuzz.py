"""Whatever comes to an agent endpoint: no 5xx from input alone, no failure without `error`, no memory held."""

from __future__ import annotations

import gzip
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
from agent_gateway.domain.surfaces import DEVICE_PREFIXES, ORBIT_PREFIX
from flotilla_common.contracts.carves import CarveSession, request_digest
from flotilla_common.contracts.logs import LOG_TYPES
from flotilla_common.testing import eventually
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from .conftest import House
from .stand_ins import SECRET

pytestmark = pytest.mark.parametrize(
    ("house", "scheme"),
    [(True, "http"), (True, "https"), (False, "http")],
    ids=["plain", "tls", "routes"],
    indirect=["house"],
)

OSQUERY = "/api/v1/osquery"
OF_OSQUERY = ("enroll", "config", "distributed/read", "distributed/write", "log", "carve/begin", "carve/block")
PATHS = tuple(f"{OSQUERY}/{path}" for path in OF_OSQUERY)
ORBIT_PATHS = tuple(f"{ORBIT_PREFIX}/{path}" for path in ("enroll", "config", "device_token"))
KEY = "@the key of a host@"
ORBIT_KEY = "@the key of its orbit@"
TOKEN = "a-token-that-is-good"
SESSION = "@the session of its carve@"
FUZZ = settings(
    max_examples=60,
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
OF_CARVES = ["block_count", "block_size", "carve_size", "carve_id", "block_id", "session_id", "request_id"]
OF_ORBIT = ["orbit_node_key", "device_auth_token", "hardware_uuid", "osquery_identifier", "hardware_serial", "platform"]
MEMBERS = st.sampled_from(OF_ENROLL + OF_OTHERS + OF_CARVES + OF_ORBIT)
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
    | st.sampled_from([KEY, ORBIT_KEY, TOKEN, SESSION, SECRET, "result", "status", "A-1", "0", "1", "YQ=="])
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
OWN = [
    ("node_key", KEY),
    ("orbit_node_key", ORBIT_KEY),
    ("session_id", SESSION),
    ("request_id", "A-1"),
    ("carve_id", "A-1"),
]
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


@dataclass(frozen=True)
class Known:
    """The credentials of a host that is asked by a campaign."""

    key: str
    orbit_key: str
    session: str  # of a carve

    def in_place(self, content: bytes) -> bytes:
        """Return a drawn body with what really is a key."""
        for name, real in ((KEY, self.key), (ORBIT_KEY, self.orbit_key), (SESSION, self.session)):
            content = content.replace(name.encode(), real.encode())
        return content


@pytest.fixture
async def known(house: House) -> Known:
    await house.live_query.start(5, [5])
    await eventually(house.gateway.campaigns.open_ids)
    carve = CarveSession(1, 5, request_digest("A-1"), 2, 100, int(time.time()) + 3600)
    known = Known(house.inventory.add_host(5), house.inventory.add_orbit(6), house.live_query.sign(carve))
    reply = await house.orbit("device_token", {"orbit_node_key": known.orbit_key, "device_auth_token": TOKEN})
    assert reply.json() == {}
    return known


def assert_is_spoken_to_a_host(reply: Any) -> None:
    body = reply.json()
    assert isinstance(body, dict)
    assert reply.status_code < 500, body
    assert (reply.status_code == 200) == ("error" not in body)
    assert isinstance(body.get("error", ""), str)
    assert body.get("node_invalid", True) is True


@pytest.mark.parametrize("path", PATHS + ORBIT_PATHS)
@FUZZ
@given(body=bodies(), headers=HEADERS, packing=PACKING)
async def test_no_input_alone_makes_a_failure_without_error_or_a_5xx(
    house: House, known: Known, path: str, body: bytes, headers: dict[str, str], packing: str
) -> None:
    content, encoding = packed(known.in_place(body), packing)
    sent = {name: value.replace(KEY, known.key) for name, value in headers.items()}

    reply = await house.client.post(path, content=content, headers=sent | encoding)

    assert_is_spoken_to_a_host(reply)
    assert ("x-fleet-capabilities" in reply.headers) is (path in ORBIT_PATHS)
    assert house.gateway.memory.used == 0


PIECES = st.sampled_from(
    ["/", "..", "%2e%2e", "%2F", "%00", "%ff", "%", ";", "//", TOKEN, "ping", "desktop", "refetch"]
)
PRINTABLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#?%"), max_size=30)
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "HEAD"])
PREFIXES = st.sampled_from(
    [f"{OSQUERY}/", "/api/osquery/", f"{ORBIT_PREFIX}/", *(f"{one}/" for one in DEVICE_PREFIXES)]
)


@FUZZ
@given(
    prefix=PREFIXES,
    path=PRINTABLE | st.lists(PIECES | PRINTABLE, max_size=4).map("".join),
    method=METHODS,
    body=bodies(),
)
async def test_no_path_of_hosts_answers_without_error(
    house: House, known: Known, prefix: str, path: str, method: str, body: bytes
) -> None:
    reply = await house.client.request(method, prefix + path, content=known.in_place(body))

    assert_is_answered(reply, method)


@FUZZ
@given(
    prefix=st.sampled_from(DEVICE_PREFIXES),
    token=st.just(TOKEN) | PRINTABLE | PIECES,
    what=st.sampled_from(["ping", "desktop", "refetch", "transparency", "x"]),
    method=st.sampled_from(["GET", "POST", "HEAD"]),
)
async def test_no_device_token_makes_a_failure_without_error_or_a_5xx(
    house: House, known: Known, prefix: str, token: str, what: str, method: str
) -> None:
    asked = len(house.inventory.orbit_resolves)

    reply = await house.client.request(method, f"{prefix}/{token}/{what}", content=b"{}")

    assert_is_answered(reply, method)
    assert TOKEN in str(reply.url) or (reply.status_code != 200 and len(house.inventory.orbit_resolves) == asked)


def assert_is_answered(reply: Any, method: str) -> None:
    if method == "HEAD":
        assert reply.status_code < 500
    elif reply.status_code == 307:  # where the desktop is led to
        assert (reply.json(), reply.headers["location"][:8]) == ({}, "https://")
    else:
        assert_is_spoken_to_a_host(reply)


LINES = st.lists(VALUES | st.sampled_from([b"{}", b'{"n":1}', b'{"n":\n1}', b" {}"]), max_size=12)


@FUZZ
@example(lines=[b'["\\ud800"]', b'{"node_key":"a-token-that-is-good"}'], log_type="result")
@given(lines=LINES, log_type=st.sampled_from(LOG_TYPES))
async def test_a_line_of_any_shape_is_stored_or_counted_and_never_fails_its_batch(
    house: House, known: Known, lines: list[bytes], log_type: str
) -> None:
    """Of the lines that are JSON: what is none makes a body that no host sends. The nesting is what a parser takes."""
    lines = [line for line in lines if is_json(line) and b"[[[[[" not in line]
    body = b'{"data":%s,"log_type":"%s","node_key":"%s"}' % (array(lines), log_type.encode(), known.key.encode())
    counters = house.gateway.counters
    stored, skipped = counters.lines[log_type], counters.lines_skipped["not_an_object"]

    reply = await house.client.post(f"{OSQUERY}/log", content=body)

    assert reply.json() == {}
    objects = sum(line.strip().startswith(b"{") for line in lines)
    assert counters.lines[log_type] - stored == objects
    assert counters.lines_skipped["not_an_object"] - skipped == len(lines) - objects


def is_json(line: bytes) -> bool:
    try:
        json.loads(line.decode("utf-8", "replace"), strict=False, parse_constant=lambda _: 1 / 0)
    except (ValueError, ZeroDivisionError, RecursionError):
        return False
    return True


@FUZZ
@given(
    token=st.text(st.characters(exclude_characters="#?/%", exclude_categories=["Cs"]), min_size=1, max_size=300),
    what=st.sampled_from(["ping", "desktop", "refetch", "transparency", "policies", "", "ping/x"]),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS"]),
)
async def test_no_token_alone_opens_the_device_api_or_has_anybody_asked(
    house: House, token: str, what: str, method: str
) -> None:
    reply = await house.client.request(method, f"/api/latest/fleet/device/{quote(token)}/{what}", content=b"{}")

    assert reply.status_code in (401, 404, 405)
    assert isinstance(reply.json()["message"], str)
    assert house.gateway.counters.backend_operations == {}
