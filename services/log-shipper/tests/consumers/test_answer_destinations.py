"""Destinations by request: made, changed, paused, tried, taken away; secrets go in and never come out."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import json
from datetime import timedelta

import obstore
import pytest
from flotilla_common.contracts.log_destinations import (
    DestinationState,
    DestinationsV1,
    PauseDestinationV1,
    PutDestinationV1,
    RemoveDestinationV1,
    TryDestinationV1,
)
from flotilla_common.db.models.log_shipper import Destination as Row
from flotilla_common.errors import Conflict, Invalid, NotFound
from flotilla_common.testing import eventually
from log_shipper.consumers import answer_destinations
from obstore.store import S3Store
from structlog.testing import capture_logs

from ..conftest import balanced, to_file

KEY = b"k" * 32
SECRET = "hush hush"


@pytest.fixture
def keyed(deps):
    return dataclasses.replace(deps, secrets_key=KEY)


@pytest.fixture
def document(s3) -> dict[str, object]:
    settings = {
        "endpoint": s3.endpoint, "bucket": s3.bucket, "region": s3.region, "access_key": s3.key,
        "secret_key": SECRET,
    }  # fmt: skip
    return {"name": "archive", "kind": "s3", "settings": settings, "batch": {"seconds": 0.1}}


async def put(admin, document, *, is_new: bool = True, revision: int | None = None) -> DestinationState:
    request = PutDestinationV1(document=json.dumps(document), is_new=is_new, revision=revision)
    return (await admin.request(request)).destination


async def objects(place) -> list[str]:
    store = S3Store(
        place.bucket, endpoint=place.endpoint, region=place.region, access_key_id=place.key,
        secret_access_key=place.secret, client_options={"allow_http": True},
    )  # fmt: skip
    found = await obstore.list(store).collect_async()
    bodies = [bytes(await (await obstore.get_async(store, entry["path"])).bytes_async()) for entry in found]
    return [line for body in bodies for line in gzip.decompress(body).decode().splitlines()]


async def test_one_that_is_made_delivers_and_its_secret_is_never_shown(
    gateway, keyed, shipping, bus_for, document, s3, database
):
    admin = await bus_for("admin_api")
    async with shipping(keyed):
        made = await put(admin, document)
        await gateway.send()

        async def delivered() -> bool:
            return (await balanced(keyed))["archive", "result"].delivered == 3

        await eventually(delivered)
        listed = await admin.request(DestinationsV1())

    assert await objects(s3) == [line.decode() for line in gateway.sent["result"]]
    assert (made.origin, made.spec["settings"]["secret_key"]) == ("api", "********")
    assert listed.destinations[0].spec == made.spec
    assert set(listed.kinds) >= {"file", "s3"}
    [row] = await database.rows(Row)
    assert SECRET not in json.dumps(row.spec)
    assert SECRET.encode() not in row.secrets


async def test_a_change_keeps_a_masked_secret_and_knows_what_it_changes(keyed, shipping, bus_for, document, s3):
    admin = await bus_for("admin_api")
    async with shipping(keyed):
        made = await put(admin, document)
        changed = dict(made.spec) | {"settings": made.spec["settings"] | {"prefix": "other"}}

        with pytest.raises(Conflict, match="changed meanwhile"):
            await put(admin, changed, is_new=False, revision=made.revision + 1)
        again = await put(admin, changed, is_new=False, revision=made.revision)
        tried = await admin.request(TryDestinationV1(name="archive"))

    assert again.revision == made.revision + 1
    assert (tried.error, tried.place) == ("", "other/test/test.ndjson.gz")
    assert [json.loads(line)["action"] for line in await objects(s3)] == ["test"]


async def test_a_kept_secret_is_sent_nowhere_else(keyed, shipping, bus_for, document, s3, database):
    admin, heard = await bus_for("admin_api"), asyncio.Event()
    thief = await asyncio.start_server(lambda *_: heard.set(), "127.0.0.1", 0)
    endpoint = f"http://127.0.0.1:{thief.sockets[0].getsockname()[1]}"
    async with thief, shipping(keyed):
        made = await put(admin, document)
        moved = dict(made.spec) | {"settings": made.spec["settings"] | {"endpoint": endpoint}}

        with pytest.raises(Invalid, match=r"settings\.endpoint changes where secrets go: give secret_key again"):
            await put(admin, moved, is_new=False, revision=made.revision)
        with pytest.raises(Invalid, match="give secret_key again"):
            await admin.request(TryDestinationV1(document=json.dumps(moved)))
        [row] = await database.rows(Row)
        was_heard = heard.is_set()
        given = moved | {"settings": moved["settings"] | {"secret_key": "another"}}
        again = await put(admin, given, is_new=False, revision=made.revision)

    assert (row.revision, row.spec["settings"]["endpoint"], was_heard) == (made.revision, s3.endpoint, False)
    assert again.spec["settings"]["endpoint"] == endpoint


async def test_what_cannot_be_is_refused_with_words(keyed, shipping, bus_for, document, directory):
    admin = await bus_for("admin_api")
    async with shipping(keyed, to_file(directory)):
        await put(admin, document)

        def making(**changes: object) -> PutDestinationV1:
            return PutDestinationV1(document=json.dumps(document | changes), is_new=True)

        unknown = PutDestinationV1(document=json.dumps(document | {"name": "moon"}), is_new=False)
        refused = [
            (Conflict, "already", making()),
            (NotFound, "no destination moon", unknown),
            (Invalid, "name: ", making(name="A B")),
            (Invalid, "Invalid JSON", PutDestinationV1(document="{", is_new=True)),
            (Invalid, "there is no kind", making(name="x", kind="y")),
            (Invalid, "declare it there", making(name="x", kind="file")),
            (Invalid, "declare it there", making(name="x", kind="stdout", settings={})),
            (Invalid, "settings.bucket: Field required", making(name="x", settings={})),
            (Conflict, "declared by FLOTILLA_DESTINATIONS", RemoveDestinationV1(name="file")),
            (NotFound, "no destination moon", PauseDestinationV1(name="moon", is_paused=True)),
        ]
        for kind, words, request in refused:
            with pytest.raises(kind, match=words):
                await admin.request(request)


async def test_without_a_key_no_secret_is_kept(deps, shipping, bus_for, document):
    async with shipping(deps):
        with pytest.raises(Invalid, match="set FLOTILLA_SECRETS_KEY"):
            await put(await bus_for("admin_api"), document)


BORROWING = {"name": "siem", "kind": "kinesis", "settings": {"stream": "logs", "endpoint": "http://127.0.0.1:9"}}


@pytest.mark.parametrize("kind", ["firehose", "kinesis"])
async def test_nobody_uses_the_role_of_log_shipper_by_request(keyed, shipping, bus_for, kind, database):
    admin = await bus_for("admin_api")
    document = BORROWING | {"kind": kind}
    own = document | {"settings": BORROWING["settings"] | {"access_key": "k", "secret_key": SECRET}}
    async with shipping(keyed):
        with pytest.raises(Invalid, match=r"needs credentials of its own.*FLOTILLA_ROLES_BY_API"):
            await put(admin, document)
        with pytest.raises(Invalid, match="needs credentials of its own"):
            await admin.request(TryDestinationV1(document=json.dumps(document)))
        await put(admin, own)
        with pytest.raises(Invalid, match="needs credentials of its own"):
            await put(admin, document, is_new=False)

    [row] = await database.rows(Row)
    assert row.spec["settings"]["access_key"] == "k"


async def test_a_role_that_was_permitted_once_is_not_used_when_it_is_no_more(gateway, keyed, shipping, bus_for):
    async with shipping(dataclasses.replace(keyed, roles_by_api=True)):
        await put(await bus_for("admin_api"), BORROWING)

    with capture_logs() as written:
        async with shipping(keyed):
            await gateway.send()
            with pytest.raises(Invalid, match="needs credentials of its own"):
                await (await bus_for("admin_api")).request(TryDestinationV1(name="siem"))

            def said() -> bool:
                return any(one["event"] == "destination cannot be opened" for one in written)

            await eventually(said)


async def test_a_try_of_what_does_not_work_says_why_and_keeps_nothing(keyed, shipping, bus_for, document, database):
    wrong = document | {"settings": document["settings"] | {"endpoint": "http://127.0.0.1:9"}}
    async with shipping(keyed):
        tried = await (await bus_for("admin_api")).request(TryDestinationV1(document=json.dumps(wrong)))

    assert "test.ndjson.gz" in tried.error
    assert not await database.rows(Row)


async def test_a_declared_one_is_tried_with_what_is_declared(deps, shipping, bus_for, directory):
    admin = await bus_for("admin_api")
    sink = to_file(directory)
    sink.spec = sink.spec.model_copy(update={"settings": {"directory": str(directory)}})
    async with shipping(deps, sink):
        tried = await admin.request(TryDestinationV1(name="file"))

        assert (tried.error, tried.place) == ("", str(directory / "test.log"))
        assert b"flotilla_destination_test" in (directory / "test.log").read_bytes()


async def test_one_that_is_declared_elsewhere_is_not_tried_here(deps, shipping, bus_for, directory):
    async with shipping(deps, to_file(directory)):
        pass
    async with shipping(deps, undeclared=60.0):
        with pytest.raises(Conflict, match="FLOTILLA_DESTINATIONS of another log-shipper"):
            await (await bus_for("admin_api")).request(TryDestinationV1(name="file"))


async def test_one_that_nobody_declares_any_more_is_shown_as_such(deps, shipping, bus_for, directory, monkeypatch):
    admin = await bus_for("admin_api")

    async def is_undeclared() -> bool:
        [shown] = (await admin.request(DestinationsV1())).destinations
        return shown.is_undeclared

    async with shipping(deps, to_file(directory)):
        assert not await is_undeclared()
    monkeypatch.setattr(answer_destinations, "LATE", timedelta(seconds=0.5))
    async with shipping(deps, undeclared=60.0):
        await eventually(is_undeclared)


async def test_pause_and_removal(gateway, keyed, shipping, bus_for, document, s3):
    admin = await bus_for("admin_api")
    async with shipping(keyed):
        await put(admin, document)
        paused = (await admin.request(PauseDestinationV1(name="archive", is_paused=True))).destination
        assert paused.paused_at is not None
        await gateway.send()

        async def counted() -> bool:
            return (await balanced(keyed))["archive", "result"].pending == 3

        await eventually(counted)
        resumed = (await admin.request(PauseDestinationV1(name="archive", is_paused=False))).destination
        assert resumed.paused_at is None
        await admin.request(RemoveDestinationV1(name="archive"))

        assert not (await admin.request(DestinationsV1())).destinations

        async def closed() -> bool:
            entry = (await balanced(keyed))["archive", "result"]
            return not entry.pending and entry.received == entry.delivered + entry.filtered

        await eventually(closed)
