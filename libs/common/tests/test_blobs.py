"""The blob store: S3 and a folder keep the same promises."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from flotilla_common.blobs import Blobs, BlobSettings, open_blobs
from flotilla_common.errors import Unavailable
from flotilla_stack.servers.ports import choose_port
from pydantic import ValidationError

NOBODY = {"nats_url": "-", "nats_user": "-", "nats_password": "-", "health_port": "0"}


def opened(url: str, **settings: str) -> Blobs:
    return open_blobs(BlobSettings.model_validate(NOBODY | {"blob_url": url} | settings))


@pytest.fixture(params=["s3", "folder"])
def store(request, tmp_path) -> Blobs:
    if request.param == "s3":
        return request.getfixturevalue("blobs")
    return opened((tmp_path / "a folder" / "blobs").as_uri())


async def test_what_was_put_is_got_and_the_last_one_counts(store):
    await store.put("a/b", b"first")
    await store.put("a/b", b"\0second" * 100_000)

    assert await store.get("a/b") == b"\0second" * 100_000
    assert await store.get("a/c") is None


async def test_a_folder_is_deleted_without_its_neighbours(store):
    for name in ("carves/1/a", "carves/1/b", "carves/1/deep/c", "carves/10/a", "carves/2/a"):
        await store.put(name, b"x")

    assert await store.delete_folder("carves/1") == 3
    assert await store.delete_folder("carves/1") == 0
    assert [await store.get(f"carves/{name}") for name in ("1/a", "10/a", "2/a")] == [None, b"x", b"x"]


async def test_a_deletion_may_be_limited_and_goes_on_from_there(store):
    for number in range(5):
        await store.put(f"carves/1/{number}", b"x")

    assert [await store.delete_folder("carves/1", 2) for _ in range(4)] == [2, 2, 1, 0]


async def test_deleting_what_is_not_there_does_no_harm(store):
    await store.put("a/1", b"x")

    await store.delete(["a/0", "a/1", "a/2"])

    assert await store.get("a/1") is None


async def test_a_new_store_is_empty_and_takes_more_than_a_page_of_deletions(store):
    assert await store.delete_folder("carves/1") == 0
    for number in range(30):
        await store.put(f"carves/1/{number}", b"")

    assert await store.delete_folder("carves/1") == 30


async def test_prefixes_keep_stores_in_one_bucket_apart(s3):
    where = {"blob_endpoint": s3.endpoint, "blob_access_key": s3.key, "blob_secret_key": s3.secret}
    one, other = opened(f"s3://{s3.bucket}/one", **where), opened(f"s3://{s3.bucket}/other/deep/", **where)
    await one.put("a", b"1")
    await other.put("a", b"2")

    assert await other.delete_folder("a") == 0
    assert (await one.get("a"), await other.get("a")) == (b"1", b"2")


async def test_a_store_that_is_not_there_is_an_outage():
    keys = {"blob_access_key": "x", "blob_secret_key": "x"}
    away = opened("s3://bucket", blob_endpoint=f"http://127.0.0.1:{choose_port()}", **keys)

    for attempt in (away.put("a", b"x"), away.get("a"), away.delete(["a"]), away.delete_folder("a")):
        with pytest.raises(Unavailable, match="blob store"):
            await attempt


@pytest.mark.parametrize("url", ["", "/tmp/x", "file://host/x", "file://", "s3:///x", "s3://", "http://bucket/x"])
def test_other_addresses_are_refused(url):
    with pytest.raises(ValidationError, match="neither s3"):
        opened(url)


async def test_what_was_put_in_a_folder_is_on_the_disk_with_the_folders_that_name_it(tmp_path, monkeypatch):
    store = opened((tmp_path / "blobs").as_uri())
    synced: list[str] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(tmp_path)))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    await store.put("logs/1/a", b"x")

    assert synced == ["blobs/logs/1/a", "blobs/logs/1", "blobs/logs", "blobs"]


def test_without_an_endpoint_and_keys_it_is_amazons_and_signs_in_as_the_machine_does():
    store = opened("s3://fleet")._store

    assert not {"endpoint", "access_key_id", "secret_access_key"} & set(store.config)
