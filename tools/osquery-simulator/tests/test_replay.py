"""The recorded traffic of a real osqueryd, replayed: given the same answers, hosts must send what it sent, and when."""

import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from osquery_simulator import Host
from osquery_simulator.disk import QueryMemory
from osquery_simulator.overlay import OSQUERY_VERSION
from osquery_simulator.testing import Asked, FakeServer, Reply, VirtualClock, recording
from osquery_simulator.testing.recording import HOST_IDENTIFIER, HOSTNAME, NODE_KEY, Recorded

Fleet = Callable[..., Any]
DATA = Path(__file__).parent / "data"
FLAGS = {"config_refresh": 10, "config_accelerated_refresh": 5, "distributed_interval": 5, "logger_tls_period": 3}
TICK = {
    "options": {"distributed_interval": 5, "logger_tls_period": 3, "pack_delimiter": "/"},
    "decorators": {
        "load": [
            "SELECT uuid AS host_uuid FROM system_info;",
            "SELECT hostname AS hostname FROM system_info;",
        ]
    },
    "schedule": {"tick": {"query": "SELECT unix_time FROM time;", "interval": 3, "snapshot": True}},
}
# Not recorded: made anew from the lines that it brought. A query of lines above 1 MiB is left out.
FORMATS = {
    "options": {"logger_tls_period": 3},
    "decorators": {
        "load": ["SELECT hostname AS hostname FROM system_info;"],
        "always": ["SELECT 'yes' AS always_one;"],
        "interval": {"60": ["SELECT 'minute' AS iv;"]},
    },
    "schedule": {
        "diff_two": {
            "query": "SELECT unix_time / 4 AS four, 1.5 AS d, NULL AS n, 'txt' AS s FROM time "
            "UNION ALL SELECT 7, 2.25, 0, 'é☃\"\\';",
            "interval": 3,
        },
        "no_removed": {"query": "SELECT unix_time / 4 AS four FROM time;", "interval": 3, "removed": False},
        "snap_rows": {
            "query": "SELECT uid, username, NULL AS nil FROM users WHERE uid < 2;",
            "interval": 4,
            "snapshot": True,
        },
        "snap_empty": {"query": "SELECT * FROM users WHERE uid = 424242;", "interval": 4, "snapshot": True},
        "diff_empty": {"query": "SELECT * FROM users WHERE uid = 424242;", "interval": 4},
        "bad_sql": {"query": "SELECT FROM;", "interval": 5},
    },
}
HEAVY = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c LIMIT 400000000) SELECT count(*) AS n FROM c;"
"""The query during which the recorded worker was killed."""
PLAIN = {"decorators": {"load": ["SELECT hostname AS hostname FROM system_info;"]}}
NOTHING: frozenset[str] = frozenset()
RESULTS, STATUSES = frozenset({"log:result"}), frozenset({"log:status"})
SPLAYED = {"pack/Global/empty snap": (10, 11), "pack/Global/bad table": (11, 12)}


@dataclass(frozen=True)
class Case:
    """A scenario, and what its host was told."""

    file: str
    scenario: str
    flags: dict[str, object] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=lambda: TICK)
    """For scenarios whose configuration requests were left out of the recording."""
    has_same_rows: bool = True
    """False: live queries asked about the machine itself."""
    has_all_times: bool = True
    """False: the recorded delays come from the machine, not from osqueryd."""
    raced: frozenset[str] = frozenset()
    """Kinds of log posts where it was a race in the recording whether a line went along or came with the next."""
    lines_on_the_edge: int = 0
    """Lines whose second is that in which the recorded schedule went away."""


LOG_SCENARIOS = [
    "500_error",
    "503_empty",
    "node_invalid",
    "node_invalid_string",
    "html_502",
    "close_before_body_once",
    "close_before_body_twice",
    "close_no_reply_once",
    "close_no_reply_twice",
    "partial_reply",
    "error_null",
    "400_message",
    "429_retry_after",
    "timeout",
    "redirect_307",
    "redirect_302",
    "304_no_location",
    "304_always",
    "root_null",
    "root_array",
    "root_string",
    "root_number",
]
CASES = [
    Case("steady-state", "steady", raced=RESULTS | STATUSES),
    Case("enroll-failures", "enroll_failures"),
    Case("enroll-failures", "enroll_attempts_used_up", {"tls_enroll_max_attempts": 2}),
    Case("config-failures", "config_fail_at_start"),
    Case("config-failures", "config_fail_later"),
    Case("config-failures", "config_too_large", raced=RESULTS, lines_on_the_edge=1),
    Case("config-failures", "accept_gzip", {"tls_accept_gzip": True}),
    *(Case("log-failures", f"log_{name}", raced=RESULTS if name == "500_error" else NOTHING) for name in LOG_SCENARIOS),
    Case("log-gzip", "log_gzip", {"logger_tls_compress": True}),
    Case("result-formats", "format_default", config=FORMATS),
    Case("result-formats", "format_batch", {"logger_event_type": False}, FORMATS),
    Case("result-formats", "format_snapshot_events", {"logger_snapshot_event_type": True}, FORMATS),
    Case("result-formats", "format_numerics", {"logger_numerics": True}, FORMATS, raced=RESULTS | STATUSES),
    Case("result-formats", "format_top_level", {"decorations_top_level": True}, FORMATS, raced=RESULTS | STATUSES),
    Case("distributed", "distributed", config=PLAIN),
    Case("distributed", "accelerate", {"distributed_interval": 20}, PLAIN),
    Case("distributed", "denylist", config=PLAIN, has_all_times=False),
    Case("distributed-failures", "read_failures"),
    Case("distributed-failures", "read_node_invalid"),
    Case("distributed-failures", "write_failures"),
    Case("distributed-failures", "write_failed_query_offered_again", has_same_rows=False),
    Case("distributed-failures", "write_node_invalid"),
    Case("inventory-queries", "inventory", has_same_rows=False),
]


def first_second(recorded: list[Recorded]) -> int:
    """Find the second in which the recorded scheduler started: its first line's, or the one before."""
    posts = {request.key: request.body["data"] for request in reversed(recorded) if request.key.startswith("log:")}
    if "log:result" not in posts:
        return int(posts["log:status"][0]["unixTime"]) if posts else 1_795_492_461
    first, *_, last = [line["unixTime"] for line in posts["log:result"] * 2]
    return int(first if last - first >= 3 else first - 1)


def of_kind(requests: list[Any], kind: str, case: Case) -> list[Any]:
    """Pick requests; one file of recordings leaves out status lines that were accepted."""
    if kind == "log:status" and case.file == "log-failures":
        return []
    return [request for request in requests if request.key == kind]


def headers(request: Recorded | Asked) -> list[tuple[str, str]]:
    """Give headers in order, without the values that depend on the length of names."""
    values = {"Host": "*", "Content-Length": "*", "User-Agent": f"osquery/{OSQUERY_VERSION}"}
    return [(name, values.get(name, value)) for name, value in request.headers]


def enrolment(body: Any, columns: Any) -> Any:
    """Describe an enrolment by the members of its recorded counterpart: the machines are not the same."""
    details = {
        table: {
            name: len(value) if name == "cpu_brand" else type(value) for name, value in row.items() if name in known
        }
        for table, row in body["host_details"].items()
        if (known := columns["host_details"].get(table))
    }
    return [
        list(body),
        body["enroll_secret"],
        body["platform_type"],
        [(one, list(two.items())) for one, two in details.items()],
    ]


def written(body: Any, recorded_body: Any, *, has_same_rows: bool) -> Any:
    """Describe distributed results without figures that no two runs share."""
    stats = {
        name: {figure: type(value) for figure, value in figures.items()} for name, figures in body["stats"].items()
    }
    queries = body["queries"]
    if not has_same_rows:
        queries = {
            name: [list(row) for row in rows[:1]] for name, rows in queries.items() if recorded_body["queries"][name]
        }
    return [list(body), list(queries.items()), list(body["statuses"].items()), body["messages"], list(stats.items())]


def posted(body: Any, case: Case) -> Any:
    """Describe a log post: its lines as texts, in an order that does not depend on how osqueryd numbers them."""
    return [
        list(body),
        body["log_type"],
        body["node_key"],
        [] if f"log:{body['log_type']}" in case.raced else sorted(lines(body)),
    ]


def lines(body: Any) -> list[str]:
    """Give the lines of a log post whose queries are known."""
    return [json.dumps(line, ensure_ascii=False) for line in body["data"] if line.get("filename") != "tls_logger.cpp"]


def described(kind: str, body: Any, recorded_body: Any, case: Case) -> Any:
    """Describe a body so that two descriptions are equal when both clients behave the same."""
    if kind == "enroll":
        return enrolment(body, recorded_body)
    if kind == "distributed/write":
        return written(body, recorded_body, has_same_rows=case.has_same_rows)
    return posted(body, case) if kind.startswith("log") and body else list((body or {}).items())


class Replay:
    """A scenario played to a simulated host."""

    def __init__(self, case: Case, server: FakeServer, host: Host, recorded: list[Recorded]) -> None:
        self.case, self.host = case, host
        self.kinds = sorted({request.key for request in recorded})
        self.recorded = {kind: of_kind(recorded, kind, case) for kind in self.kinds}
        self.asked = {kind: of_kind(server.asked, kind, case) for kind in self.kinds}

    def pairs(self) -> list[tuple[str, Recorded, Asked]]:
        """Put what was recorded and what was simulated side by side."""
        return [
            (kind, *pair)
            for kind in self.kinds
            if kind not in self.case.raced or len(self.recorded[kind]) == len(self.asked[kind])
            for pair in zip(self.recorded[kind], self.asked[kind], strict=True)
        ]

    def body(self, asked: Asked) -> Any:
        """Give a body as if the simulated host were the recorded one."""
        names = {self.host.host_identifier: HOST_IDENTIFIER, self.host.identity.hostname: HOSTNAME}
        text = asked.text
        for name, recorded_name in names.items():
            text = text.replace(name, recorded_name)
        return json.loads(text) if text else None

    def all_lines(self, kind: str) -> tuple[set[str], set[str]]:
        """Give all lines of both; of the simulated ones those that are not newer than the newest recorded one."""
        recorded = {line for request in self.recorded.get(kind, []) for line in lines(request.body)}
        newest = max((json.loads(line)["unixTime"] for line in recorded), default=0)
        asked = {line for request in self.asked.get(kind, []) for line in lines(self.body(request))}
        return recorded, {line for line in asked if json.loads(line)["unixTime"] <= newest}


@pytest.fixture
async def play(server: FakeServer, fleet: Fleet, clock: VirtualClock) -> Callable[[Case], Awaitable[Replay]]:
    async def to_the_end(case: Case) -> Replay:
        recorded = recording.load(DATA / f"{case.file}.json", case.scenario, json.dumps(TICK))
        known = {"config": [case.config], "enroll": [{"node_key": NODE_KEY}]}
        server.answers = known | recording.script(recorded, server.url)
        clock.set_unix(first_second(recorded))
        clock.limit = 0
        simulator = await fleet(
            flags=FLAGS | case.flags, accepts_gzip="tls_accept_gzip" in case.flags, enroll_secret="enroll-secret-0001"
        )
        [host] = simulator.hosts
        host.view.identity = replace(host.identity, uptime_seconds=6785)
        host.script.crashes_during_query[HEAVY] = 4.9
        host.disk.queries |= {name: QueryMemory(interval=one, splayed=other) for name, (one, other) in SPLAYED.items()}
        await clock.run_to(recorded[-1].seconds + 0.9)
        return Replay(case, server, host, recorded)

    return to_the_end


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.scenario)
async def test_a_host_sends_what_the_real_one_sent(case: Case, play: Callable[[Case], Awaitable[Replay]]) -> None:
    replay = await play(case)
    counts = [
        {kind: len(found) for kind, found in side.items() if kind not in case.raced}
        for side in (replay.recorded, replay.asked)
    ]

    assert counts[1] == counts[0]
    for kind, recorded, asked in replay.pairs():
        where = f"{kind} at {recorded.seconds}"
        recorded_body = recorded.body if recorded.text else None
        assert headers(asked) == headers(recorded), where
        assert asked.request_on_connection == recorded.request_on_connection, where
        assert described(kind, replay.body(asked), recorded_body, case) == described(
            kind, recorded_body, recorded_body, case
        ), where
        assert not case.has_all_times or abs(asked.time - recorded.seconds) < 0.7, where
    for kind in ("log:result", "log:status"):
        recorded_lines, asked_lines = replay.all_lines(kind)
        assert len(asked_lines ^ recorded_lines) <= case.lines_on_the_edge


async def test_after_a_restart_with_its_database_a_host_does_not_enroll(
    server: FakeServer, fleet: Fleet, clock: VirtualClock, tmp_path: Path
) -> None:
    recorded = recording.load(DATA / "enroll-failures.json", "restart")
    server.answers = dict(recording.script(recorded, server.url))
    clock.limit = 0
    first = await fleet(flags=FLAGS, state_dir=tmp_path)
    await clock.run_to(12.6)
    assert await first.stop() == []
    await fleet(flags=FLAGS, state_dir=tmp_path)
    await clock.run_to(recorded[-1].seconds + 0.9)
    asked = {kind: [one for one in server.asked if one.key == kind] for kind in {one.key for one in recorded}}

    assert {kind: len(some) for kind, some in asked.items()} == {"enroll": 1, "config": 4, "distributed/read": 6}
    for kind, some in asked.items():
        times = [one.seconds for one in recorded if one.key == kind]
        assert [abs(one.time - time) < 0.7 for one, time in zip(some, times, strict=True)] == [True] * len(times)


@pytest.mark.parametrize("scenario", ["steady", "connection_close_header", "tls12_only_server"])
async def test_connections_are_what_the_real_ones_were(
    scenario: str, server_tls: ssl.SSLContext, certificate: Path, fleet: Fleet, clock: VirtualClock
) -> None:
    entries = json.loads((DATA / "connections.json").read_text("utf-8"))
    recorded = next(entry["connections"] for entry in entries if entry["scenario"] == scenario)
    server_names: list[str | None] = []
    server_tls.sni_callback = lambda _, name, __: server_names.append(name)
    if scenario == "tls12_only_server":
        server_tls.maximum_version = ssl.TLSVersion.TLSv1_2
    clock.limit = 0
    async with FakeServer(server_tls, clock) as server:
        server.answers["config"] = [TICK]
        if scenario == "connection_close_header":
            closing = {"Connection": "close"}
            server.answers["config"] = [Reply(json.dumps(TICK), headers=closing)]
            server.answers |= {name: [Reply(headers=closing)] for name in ("log", "distributed/read")}
        await fleet(url=server.url.replace("127.0.0.1", "localhost"), ca_file=certificate, flags=FLAGS)
        await clock.run_to(12.5)
        still_open = len(server.open_connections)

    assert {(seen.tls_version, seen.is_resumed, seen.alpn) for seen in server.connections} == {
        (seen["tls_version"], seen["session_resumed"], seen["alpn"]) for seen in recorded
    }
    assert server_names == ["localhost"] * len(server.connections)
    assert {len(seen.endpoints) for seen in server.connections} == {len(seen["requests"]) for seen in recorded} == {1}
    assert still_open == (0 if scenario == "connection_close_header" else 4)
