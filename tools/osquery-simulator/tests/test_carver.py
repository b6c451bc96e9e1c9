"""Carves: asked for by the table, sent in blocks, at full minutes; success is whatever the carver takes for it."""

import base64
import hashlib
import io
import itertools
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from osquery_simulator import Host
from osquery_simulator.carver import FAILED, SCHEDULED, SUCCESS, ZSTD_MAGIC, content_of, in_zstd
from osquery_simulator.testing import Asked, FakeServer, Reply, VirtualClock

Fleet = Callable[..., Any]
PATH = "/opt/sample/report.txt"
ASK = f"SELECT carve_guid, status, path, carve FROM carves WHERE path = '{PATH}' AND carve = 1;"
BEGUN = {"session_id": "session-0001", "success": True}
OK = {"success": True}
BLOCK = 16_384


@pytest.fixture
def started(server: FakeServer, fleet: Fleet) -> Callable[..., Any]:
    """`await started(carver_block_size=...)`: a host that rests."""

    async def start(**flags: object) -> Host:
        simulator = await fleet(flags={"carver_block_size": BLOCK, **flags})
        await simulator.enrolled()
        found: Host = simulator.hosts[0]
        await found.poll_now()
        server.answers["carve/begin"], server.answers["carve/block"] = [BEGUN], [OK]
        return found

    return start


async def ask(server: FakeServer, host: Host, sql: str = ASK) -> Any:
    """Have the host run a query; what it says."""
    server.answers["distributed/read"] = [{"queries": {"q": sql}}, {}]
    await host.poll_now()
    return server.of("distributed/write")[-1].body["queries"]["q"]


def statuses(host: Host) -> list[Any]:
    return [row["status"] for row in host.disk.carves]


async def until_done(host: Host) -> None:
    await host.until(lambda host: host.disk.carves and SCHEDULED not in statuses(host))


def sent(server: FakeServer) -> list[Asked]:
    return server.of("carve/block")


def joined(server: FakeServer) -> bytes:
    return b"".join(base64.b64decode(asked.body["data"], validate=True) for asked in sent(server))


async def test_the_table_schedules_a_carve_and_says_so(server: FakeServer, started: Any) -> None:
    host = await started()
    [row] = await ask(server, host)
    [later] = await ask(server, host, "SELECT * FROM carves")

    assert (row["status"], row["path"], row["carve"]) == (SCHEDULED, PATH, "1")
    assert (later["status"], later["carve"], later["size"], later["sha256"]) == (SCHEDULED, "0", "-1", "")
    assert later["carve_guid"] == row["carve_guid"] != later["request_id"]


async def test_it_begins_at_the_next_full_minute_and_sends_blocks_in_order(
    server: FakeServer, started: Any, clock: VirtualClock
) -> None:
    host = await started()
    clock.set_unix(1_795_492_460.0)
    await ask(server, host)
    asked_at = clock.unix()
    await until_done(host)

    [begin] = server.of("carve/begin")
    blocks = sent(server)
    names = ["block_count", "block_size", "carve_size", "carve_id", "request_id", "node_key"]
    assert list(begin.body) == names
    assert 0 < begin.time - (asked_at - clock.unix() + clock.now()) <= 60
    assert [asked.body["block_id"] for asked in blocks] == list(range(begin.body["block_count"]))
    assert {tuple(asked.body) for asked in blocks} == {("block_id", "session_id", "request_id", "data")}
    assert {asked.body["request_id"] for asked in blocks} == {begin.body["request_id"]}
    assert all(dict(asked.headers)["Authorization"].startswith("NodeKey ") for asked in blocks)
    assert len({asked.connection for asked in [begin, *blocks]}) == 1 + len(blocks)
    assert all(later.time - earlier.time < 1 for earlier, later in itertools.pairwise([begin, *blocks]))


async def test_the_blocks_are_a_tar_of_the_file_whose_digest_the_table_knows(server: FakeServer, started: Any) -> None:
    host = await started()
    await ask(server, host)
    await until_done(host)
    [row] = await ask(server, host, "SELECT sha256, size, status FROM carves")

    content = joined(server)
    assert row == {"sha256": hashlib.sha256(content).hexdigest(), "size": str(len(content)), "status": SUCCESS}
    assert server.of("carve/begin")[0].body["carve_size"] == len(content)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        [member] = archive.getmembers()
        extracted = archive.extractfile(member)
        assert extracted is not None
        assert extracted.read() == content_of(PATH, host.identity.hostname)


@pytest.mark.parametrize("answer", [{"error": "no"}, {"session_id": ""}, {"session_id": 5}, {}, Reply("<html>")])
async def test_without_a_session_id_that_is_text_the_carve_fails(server: FakeServer, started: Any, answer: Any) -> None:
    host = await started()
    server.answers["carve/begin"] = [answer]
    await ask(server, host)
    await until_done(host)

    assert statuses(host) == [FAILED]
    assert sent(server) == []


async def test_an_error_is_not_noticed_and_what_is_no_json_is_repeated(server: FakeServer, started: Any) -> None:
    host = await started()
    server.answers["carve/block"] = [{"error": "no"}, Reply("error: unavailable", 503), OK]
    await ask(server, host)
    await until_done(host)

    numbers = [asked.body["block_id"] for asked in sent(server)]
    assert numbers[:4] == [0, 1, 1, 2]
    assert numbers == sorted(numbers)
    assert statuses(host) == [SUCCESS]


async def test_after_three_attempts_a_block_is_left_out_and_the_carver_reports_success(
    server: FakeServer, started: Any
) -> None:
    host = await started(carver_block_size=1_000_000)
    server.answers["carve/block"] = [Reply("gone", 503)]
    await ask(server, host)
    await until_done(host)

    times = [asked.time for asked in sent(server)]
    assert [round(later - earlier) for earlier, later in itertools.pairwise(times)] == [1, 4]
    assert statuses(host) == [SUCCESS]


async def test_a_compressed_carve_is_a_frame_of_zstd(server: FakeServer, started: Any) -> None:
    host = await started(carver_compression=True)
    await ask(server, host)
    await until_done(host)

    content = joined(server)
    tar = host.carver.archive([PATH], int(str(host.disk.carves[0]["time"])))
    assert content.startswith(ZSTD_MAGIC)
    assert content == tar


def test_a_frame_without_compression_says_the_sizes_of_its_raw_blocks() -> None:
    assert in_zstd(b"") == bytes.fromhex("28b52ffd a0 00000000 010000")
    assert in_zstd(b"ab") == bytes.fromhex("28b52ffd a0 02000000 110000") + b"ab"
    frame = in_zstd(b"x" * 131_073)
    assert frame[9:12] == (131_072 << 3).to_bytes(3, "little")
    assert frame[-4:] == (1 << 3 | 1).to_bytes(3, "little") + b"x"


@pytest.mark.parametrize(
    ("flags", "sql"),
    [
        ({"disable_carver": True}, ASK),
        ({}, "SELECT * FROM carves WHERE path = '/x'"),
        ({}, "SELECT * FROM carves WHERE carve = 0 AND path = '/x'"),
        ({}, "SELECT * FROM carves WHERE carve = 1"),
    ],
)
async def test_nothing_is_carved_that_is_not_asked_for(
    server: FakeServer, started: Any, flags: dict[str, object], sql: str
) -> None:
    host = await started(**flags)

    assert await ask(server, host, sql) == []
    assert host.disk.carves == []
