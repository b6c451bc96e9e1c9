"""/logs/destinations and /logs/ledger, with a real log-shipper behind them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from flotilla_common.testing import eventually
from flotilla_common.testing.processes import running_service

SECRET = "hush hush"


@pytest.fixture
async def shipper(service_environment) -> AsyncIterator[None]:
    """A log-shipper that declares one destination of files."""
    environment = service_environment("log_shipper") | {"FLOTILLA_DESTINATIONS": "file"}
    async with running_service("log_shipper", environment=environment) as running:
        await running.ready()
        yield


@pytest.fixture
def document(s3) -> dict[str, object]:
    settings = {
        "endpoint": s3.endpoint, "bucket": s3.bucket, "region": s3.region, "access_key": s3.key, "secret_key": SECRET,
    }  # fmt: skip
    return {"name": "archive", "kind": "s3", "settings": settings, "filter": {"log_types": ["result"]}}


async def test_a_change_leaves_what_it_does_not_name(shipper, ask, admin, document):
    wanted = document | {"filter": {"log_types": ["result"], "queries": ["Uptime"]}, "batch": {"lines": 100}}
    assert (await ask(admin, "POST /logs/destinations", wanted)).status_code == 200

    async def change(**members: object) -> dict[str, Any]:
        answer = await ask(admin, "PATCH /logs/destinations/archive", members)
        assert answer.status_code == 200, answer.text
        return answer.json()["destination"]

    narrower = await change(filter={"platforms": ["windows"]})
    wider = await change(filter={"queries": None}, settings={"prefix": "other"})
    default = await change(batch=None, settings={"prefix": None})

    assert (
        narrower["filter"] | {"log_types": ["result"], "queries": ["Uptime"], "platforms": ["windows"]}
        == (narrower["filter"])
    )
    assert (wider["filter"]["log_types"], wider["filter"]["queries"]) == (["result"], None)
    assert (wider["settings"]["prefix"], wider["settings"]["bucket"]) == ("other", document["settings"]["bucket"])
    assert (wider["batch"]["lines"], default["batch"]["lines"]) == (100, None)
    assert default["settings"]["prefix"] == narrower["settings"]["prefix"]


async def test_a_life_of_a_destination(shipper, ask, admin, document, news):
    made = await ask(admin, "POST /logs/destinations", document)
    assert made.status_code == 200, made.text
    shown = made.json()["destination"]
    assert (shown["origin"], shown["status"], shown["settings"]["secret_key"]) == ("api", "delivering", "********")

    tried = (await ask(admin, "POST /logs/destinations/archive/test")).json()["test"]
    assert (tried["ok"], tried["error"], tried["place"]) == (True, "", "logs/test/test.ndjson.gz")
    changed = await ask(admin, "PATCH /logs/destinations/archive", shown | {"settings": {"prefix": "other"}})
    assert changed.status_code == 200, changed.text
    assert changed.json()["destination"]["settings"]["bucket"] == document["settings"]["bucket"]
    again = (await ask(admin, "POST /logs/destinations/archive/test")).json()["test"]
    assert (again["ok"], again["place"]) == (True, "other/test/test.ndjson.gz")
    paused = await ask(admin, "POST /logs/destinations/archive/pause")
    assert paused.json()["destination"]["status"] == "paused"
    resumed = await ask(admin, "POST /logs/destinations/archive/resume")
    assert resumed.json()["destination"]["status"] == "delivering"
    names = [one["name"] for one in (await ask(admin, "GET /logs/destinations")).json()["destinations"]]
    assert names == ["archive", "file"]
    assert (await ask(admin, "DELETE /logs/destinations/archive")).json() == {}
    assert (await ask(admin, "GET /logs/destinations/archive")).status_code == 404

    done = await news.activities()
    assert [kind for kind, _ in done] == [
        "created_log_destination", "edited_log_destination", "paused_log_destination", "resumed_log_destination",
        "deleted_log_destination",
    ]  # fmt: skip
    assert SECRET not in json.dumps(done) + made.text + changed.text


async def test_a_kept_secret_is_given_again_when_its_destination_moves(shipper, ask, admin, document, news):
    await ask(admin, "POST /logs/destinations", document)
    moved = {"endpoint": "http://127.0.0.1:9"}

    silent = await ask(admin, "PATCH /logs/destinations/archive", {"settings": moved})
    masked = await ask(admin, "PATCH /logs/destinations/archive", {"settings": moved | {"secret_key": "********"}})
    tried = await ask(
        admin,
        "POST /logs/destinations/test",
        document | {"settings": document["settings"] | moved | {"secret_key": "********"}},
    )
    given = await ask(admin, "PATCH /logs/destinations/archive", {"settings": moved | {"secret_key": "another"}})

    for refused in (silent, masked, tried):
        assert refused.status_code == 422
        assert "settings.endpoint changes where secrets go: give secret_key again" in refused.text
    assert (given.status_code, given.json()["destination"]["settings"]["endpoint"]) == (200, moved["endpoint"])
    assert [kind for kind, _ in await news.activities()] == ["created_log_destination", "edited_log_destination"]


async def test_the_books_are_shown(shipper, ask, make_user):
    observer = await make_user("observer")

    async def books() -> list[dict[str, object]]:
        return (await ask(observer, "GET /logs/ledger")).json()["ledger"]

    found = await eventually(books)
    names = {"destination", "log_type", "received", "filtered", "delivered", "dead_lettered", "pending", "duplicates"}
    assert [(entry["destination"], entry["log_type"]) for entry in found] == [("file", "result"), ("file", "status")]
    assert set(found[0]) == names
    shown = (await ask(observer, "GET /logs/ledger")).json()
    assert shown["host_losses"] == {"lines": 0, "warnings": 0, "hosts": 0}


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"name": "A B"}, 422, "name"),
        ({"kind": "moon"}, 422, "there is no kind"),
        ({"kind": "file", "settings": {"directory": "/etc"}}, 422, "declare it there"),
        ({"settings": {}}, 422, "settings.bucket: Field required"),
        ({"colour": "red"}, 422, "is no member of a destination"),
        ({"filter": {"log_types": []}}, 422, "filter.log_types"),
        ({"name": "file"}, 409, "already"),
    ],
)
async def test_what_cannot_be_is_refused_with_words(shipper, ask, admin, document, news, change, status, words):
    refused = await ask(admin, "POST /logs/destinations", document | change)

    assert (refused.status_code, words in refused.text) == (status, True), refused.text
    assert SECRET not in refused.text
    assert await news.activities() == []


async def test_a_declared_one_is_changed_where_it_is_declared(shipper, ask, admin):
    for what, body in (("PATCH", {"filter": {}}), ("DELETE", None)):
        refused = await ask(admin, f"{what} /logs/destinations/file", body)
        assert refused.status_code == 409, refused.text
        assert "declared by FLOTILLA_DESTINATIONS" in refused.text
    renamed = await ask(admin, "PATCH /logs/destinations/file", {"name": "other"})
    assert renamed.status_code == 422


async def test_a_declared_one_is_tried_all_the_same(shipper, ask, admin):
    tried = await ask(admin, "POST /logs/destinations/file/test", None)

    assert tried.status_code == 200, tried.text
    assert tried.json()["test"]["ok"] is True
    assert tried.json()["test"]["place"].endswith("/test.log")


async def test_a_try_without_keeping_says_why_it_fails(shipper, ask, admin, document):
    document["settings"]["endpoint"] = "http://127.0.0.1:9"

    tried = await ask(admin, "POST /logs/destinations/test", document)

    assert tried.status_code == 200
    assert tried.json()["test"]["ok"] is False
    assert "test.ndjson.gz" in tried.json()["test"]["error"]
    assert [one["name"] for one in (await ask(admin, "GET /logs/destinations")).json()["destinations"]] == ["file"]


@pytest.mark.parametrize(
    ("role", "reads"), [("maintainer", 200), ("gitops", 200), ("observer", 403), ("observer_plus", 403)]
)
async def test_who_may_look_at_destinations(shipper, ask, make_user, role, reads):
    member = await make_user(role)

    assert (await ask(member, "GET /logs/destinations")).status_code == reads


async def test_without_a_log_shipper_it_is_an_outage(ask, admin):
    assert (await ask(admin, "GET /logs/destinations")).status_code == 503
