"""Carves for people: what is known, block by block, as a whole; for global admins alone."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from datetime import timedelta

import pytest
from admin_api.domain import carves
from flotilla_common.contracts.carves import carve_folder, part_object
from flotilla_common.db.models.live_query import Carve, CarveBlock
from flotilla_common.errors import NotFound, Unavailable

DATA = bytes(range(256)) * 4
BLOCK = 400
DAY = timedelta(days=1)


@pytest.fixture
def carved(database, deps, clock):
    """`await carved(blocks=2)`: what live-query has written of a carve of DATA; its first blocks are stored."""

    async def make(blocks: int = 3, parts: int = 1, age: timedelta = timedelta(), **columns) -> int:
        now = clock() - age
        pieces = [DATA[at : at + BLOCK] for at in range(0, len(DATA), BLOCK)]
        carve = Carve(**{
            "host_id": 12, "campaign_id": 9, "name": "db-1-2025-07-01T12:00:00Z-a1b2", "carve_guid": f"a1b2-{now}",
            "request_id": "fleet_distributed_query_9", "block_count": len(pieces), "block_size": BLOCK,
            "carve_size": len(DATA), "created_at": now, "expires_at": now + DAY, "blocks_stored": blocks,
            "bytes_stored": sum(map(len, pieces[:blocks])), "max_block": blocks - 1, "format": "tar",
            "completed_at": now if blocks == len(pieces) else None, **columns,
        })  # fmt: skip
        await database.add(carve)
        for number, piece in enumerate(pieces[:blocks]):
            digest, size = hashlib.sha256(piece).digest(), -(-len(piece) // parts)
            for part in range(parts):
                name = part_object(carve.id, number, digest, part)
                await deps.blobs.put(name, piece[part * size : (part + 1) * size])
            await database.add(
                CarveBlock(
                    carve_id=carve.id, block_id=number, sha256=digest, size=len(piece), parts=parts, stored_at=now
                )
            )
        return carve.id

    return make


async def test_a_carve_says_all_that_clients_read(ask, admin, carved):
    number = await carved()

    answer = (await ask(admin, f"GET /carves/{number}")).json()["carve"]

    assert answer.pop("created_at").endswith("Z")
    assert answer.pop("expires_at").endswith("Z")
    assert answer.pop("carve_id").startswith("a1b2")
    assert answer == {
        "id": number,
        "host_id": 12,
        "name": "db-1-2025-07-01T12:00:00Z-a1b2",
        "block_count": 3,
        "block_size": 400,
        "carve_size": 1024,
        "request_id": "fleet_distributed_query_9",
        "session_id": "********",
        "expired": False,
        "error": None,
        "max_block": 2,
        "campaign_id": 9,
        "format": "tar",
    }


async def test_without_any_carve_the_list_is_null(ask, admin):
    assert (await ask(admin, "GET /carves")).json() == {"carves": None}


async def test_expired_ones_are_listed_on_demand_whether_or_not_they_are_swept(ask, admin, carved, clock):
    kept = await carved()
    old = await carved(age=DAY)
    swept = await carved(age=2 * DAY, expired_at=clock())

    plain = (await ask(admin, "GET /carves")).json()["carves"]
    everything = {flag: (await ask(admin, "GET /carves", expired=flag)).json()["carves"] for flag in ("1", "true")}
    no = (await ask(admin, "GET /carves", expired="0")).json()["carves"]

    assert [found["id"] for found in plain] == [kept]
    assert no == plain
    for found in everything.values():
        assert {one["id"]: one["expired"] for one in found} == {kept: False, old: True, swept: True}


async def test_lists_are_paged_and_ordered_and_ignore_a_search(ask, admin, carved):
    numbers = [await carved(name=name, age=timedelta(hours=hours)) for hours, name in enumerate("bca")]

    by_name = (await ask(admin, "GET /carves", order_key="name", order_direction="desc", query="zzz")).json()["carves"]
    second = (await ask(admin, "GET /carves", page="1", per_page="2")).json()["carves"]
    unknown = await ask(admin, "GET /carves", order_key="nonsense")

    assert [one["name"] for one in by_name] == ["c", "b", "a"]
    assert [one["id"] for one in second] == [numbers[2]]
    assert unknown.status_code == 422


@pytest.mark.parametrize("parts", [1, 3])
async def test_blocks_are_in_base64_and_make_the_file(ask, admin, carved, parts):
    number = await carved(parts=parts)

    answers = [await ask(admin, f"GET /carves/{number}/block/{block}") for block in range(3)]

    assert b"".join(base64.b64decode(answer.json()["data"], validate=True) for answer in answers) == DATA
    assert {answer.headers["content-type"] for answer in answers} == {"application/json; charset=utf-8"}


async def test_a_block_that_is_not_there_yet_is_404(ask, admin, carved):
    number = await carved(blocks=1)

    answers = [await ask(admin, f"GET /carves/{number}/block/{block}") for block in (1, 3, 10**17)]

    assert {answer.status_code for answer in answers} == {404}
    assert answers[0].json()["errors"][0]["reason"] == "block 1 not yet available"


@pytest.mark.parametrize("block", ["x", "-1", "1.0", "9" * 30])
async def test_a_block_that_is_no_number_is_400(ask, admin, carved, block):
    assert (await ask(admin, f"GET /carves/{await carved()}/block/{block}")).status_code == 400


@pytest.mark.parametrize("what", ["", "/block/0", "/download"])
async def test_an_unknown_carve_is_404(ask, admin, what):
    answer = await ask(admin, f"GET /carves/99{what}")

    assert answer.status_code == 404
    assert answer.json()["errors"][0]["reason"] == "Carve 99 was not found in the datastore"


@pytest.mark.parametrize("what", ["block/0", "download"])
async def test_the_contents_of_an_expired_carve_are_refused_though_they_may_still_be_there(ask, admin, carved, what):
    answer = await ask(admin, f"GET /carves/{await carved(age=DAY)}/{what}")

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["reason"] == "cannot get block for expired carve"


@pytest.mark.parametrize(("format_", "ending"), [("tar", ".tar"), ("zstd", ".tar.zst")])
async def test_a_complete_carve_is_downloaded_as_one_file(ask, admin, carved, format_, ending, monkeypatch):
    monkeypatch.setattr(carves, "PAGE", 2)
    monkeypatch.setattr(carves, "PIECE_BYTES", 100)
    number = await carved(format=format_, parts=2)

    answer = await ask(admin, f"GET /carves/{number}/download")

    assert answer.content == DATA
    assert answer.headers["content-length"] == str(len(DATA))
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == (f'attachment; filename="db-1-2025-07-01T12:00:00Z-a1b2{ending}"')


async def test_an_incomplete_carve_is_not_downloaded(ask, admin, carved):
    answer = await ask(admin, f"GET /carves/{await carved(blocks=2)}/download")

    assert answer.status_code == 409
    assert answer.json()["errors"][0]["reason"] == "2 of 3 blocks have come"


async def test_contents_that_are_gone_are_404(ask, admin, carved, deps):
    number = await carved()
    await deps.blobs.delete_folder(carve_folder(number))

    answers = [await ask(admin, f"GET /carves/{number}/{what}") for what in ("block/1", "download")]

    assert {answer.status_code for answer in answers} == {404}


async def test_a_download_that_loses_its_carve_breaks_instead_of_ending_well(carved, deps, database):
    number = await carved()
    [carve] = await database.rows(Carve)
    content = carves.whole(deps.sessions, deps.blobs, deps.carve_reads, carve)
    first = await anext(content)
    await deps.blobs.delete_folder(carve_folder(number))

    with pytest.raises(NotFound):
        _ = [piece async for piece in content]
    assert DATA.startswith(first)
    assert deps.carve_reads.now == 0


async def test_a_blob_store_that_is_away_is_503(ask, admin, carved, deps, monkeypatch):
    async def away(name):
        raise Unavailable("blob store: away")

    number = await carved()
    monkeypatch.setattr(deps.blobs, "get", away)

    answers = [await ask(admin, f"GET /carves/{number}/{what}") for what in ("block/0", "download")]

    assert {answer.status_code for answer in answers} == {503}


async def test_so_many_are_read_at_once_and_the_next_is_told_to_come_later(ask, admin, carved, deps, monkeypatch):
    number, held, entered = await carved(), asyncio.Event(), asyncio.Event()
    get = deps.blobs.get

    async def slow(name):
        if deps.carve_reads.now == carves.READS_AT_ONCE:
            entered.set()
        await held.wait()
        return await get(name)

    monkeypatch.setattr(deps.blobs, "get", slow)
    reads = [
        asyncio.create_task(ask(admin, f"GET /carves/{number}/{what}"))
        for what in ["block/0", "download"] * (carves.READS_AT_ONCE // 2)
    ]
    await asyncio.wait_for(entered.wait(), 30)
    refused = [await ask(admin, f"GET /carves/{number}/{what}") for what in ("block/0", "download")]
    held.set()
    answers = [await read for read in reads]

    assert {answer.status_code for answer in refused} == {503}
    assert {answer.status_code for answer in answers} == {200}
    assert deps.carve_reads.now == 0


@pytest.mark.parametrize("role", ["maintainer", "observer", "observer_plus"])
async def test_others_than_global_admins_see_nothing(ask, make_user, make_team, carved, role):
    number = await carved()
    members = [await make_user(role), await make_user("admin", await make_team("Servers"))]

    answers = [
        await ask(member, f"GET /carves{what}")
        for member in members
        for what in ("", f"/{number}", f"/{number}/block/0", f"/{number}/download", "/99")
    ]

    assert {answer.status_code for answer in answers} == {403}
