"""A change of a destination takes effect within two seconds, and loses and doubles no line."""

from __future__ import annotations

import asyncio
import time

import pytest
from flotilla_common.clock import utc_now
from flotilla_common.contracts.log_destinations import Destination, LogFilter
from flotilla_common.db.models.inventory import Host, LabelMembership
from flotilla_common.db.models.log_shipper import Destination as Row
from flotilla_common.testing import eventually
from log_shipper.config_file import ConfigFile
from log_shipper.consumers.manage import Declared, Manager
from log_shipper.domain.specs import checked, sealed, shown
from log_shipper.metrics import CONFIG_BROKEN
from log_shipper.sinks import Kind, kind_of
from log_shipper.sinks.file import FileSink
from log_shipper.sinks.webhook import Settings as WebhookSettings
from log_shipper.store import destinations
from sqlalchemy import func
from structlog.testing import capture_logs

from ..conftest import WatchedSink, balanced, lines_in, to_file

EFFECT_SECONDS = 2.0


async def put(deps, spec: Destination, **changes: object) -> None:
    """Do what the API does."""
    spec = checked(spec)
    secrets = None if deps.secrets_key is None else sealed(spec, deps.secrets_key)
    async with deps.sessions.begin() as session:
        row = Row(name=spec.name, kind=spec.kind, origin="api", spec=shown(spec), secrets=secrets)
        await destinations.put(session, row)


async def change(deps, name: str, **values: object) -> None:
    async with deps.sessions.begin() as session:
        row = await session.get(Row, name)
        for key, value in values.items():
            setattr(row, key, value)


def file_at(directory, name: str = "made", **changes: object) -> Destination:
    return Destination(name=name, kind="file", settings={"directory": str(directory)}, **changes)


async def test_a_destination_that_the_api_makes_gets_lines_that_come_then(gateway, deps, shipping, directory, tmp_path):
    async with shipping(deps, to_file(directory)):
        await gateway.send()
        await eventually(lambda: lines_in(directory) == gateway.sent["result"])
        await put(deps, file_at(tmp_path / "made"))
        began = time.monotonic()
        while len(lines_in(tmp_path / "made")) < 3:
            await gateway.send()
            assert time.monotonic() < began + 10
        await eventually(lambda: lines_in(tmp_path / "made")[-1:] == gateway.sent["result"][-1:])

    made = lines_in(tmp_path / "made")
    assert made == gateway.sent["result"][-len(made) :]
    assert (await balanced(deps))["made", "result"].delivered == len(made)


async def test_a_change_takes_effect_and_no_line_is_lost_or_doubled(gateway, deps, shipping, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    await put(deps, file_at(old))
    async with shipping(deps):
        await gateway.send("result", 2, messages=20)
        await eventually(lambda: lines_in(old))
        began = time.monotonic()
        await put(deps, file_at(new))
        while not lines_in(new):
            await gateway.send("result", 2)
            assert time.monotonic() < began + 10
        sent = gateway.sent["result"]
        await eventually(lambda: len(lines_in(old)) + len(lines_in(new)) == len(sent))

    assert lines_in(old) + lines_in(new) == sent


async def test_a_paused_destination_gets_nothing_and_loses_nothing(gateway, deps, shipping, directory, database):
    async with shipping(deps, to_file(directory)):
        await gateway.send()
        await eventually(lambda: lines_in(directory) == gateway.sent["result"])
        await change(deps, "file", paused_at=func.now())
        await asyncio.sleep(EFFECT_SECONDS)
        await gateway.send(messages=2)
        await eventually(lambda: pending(deps, 6))
        assert len(lines_in(directory)) == 3
        await change(deps, "file", paused_at=None)

        await eventually(lambda: lines_in(directory) == gateway.sent["result"])


async def pending(deps, lines: int) -> bool:
    return (await balanced(deps))["file", "result"].pending == lines


async def test_one_that_is_taken_away_stops_and_its_books_are_closed(gateway, deps, shipping, tmp_path):
    await put(deps, file_at(tmp_path / "made"))
    async with shipping(deps):
        await gateway.send()
        await eventually(lambda: len(lines_in(tmp_path / "made")) == 3)
        async with deps.sessions.begin() as session:
            await destinations.take_away(session, "made")
        await asyncio.sleep(EFFECT_SECONDS)
        await gateway.send()

        async def closed() -> bool:
            entry = (await balanced(deps))["made", "result"]
            return entry.received == entry.delivered + entry.filtered == 3 and not entry.pending

        await eventually(closed)
    assert len(lines_in(tmp_path / "made")) == 3


async def test_settings_that_make_no_sense_any_more_are_told_and_stop_nobody_else(gateway, deps, shipping, directory):
    async with deps.sessions.begin() as session:
        await destinations.put(session, Row(name="odd", kind="s3", origin="api", spec={"name": "odd", "kind": "s3"}))

    async with shipping(deps, to_file(directory)):
        await gateway.send()
        await eventually(lambda: lines_in(directory) == gateway.sent["result"])

    assert (await balanced(deps))["odd", "result"].pending == 3


async def test_a_file_of_destinations_is_followed(gateway, deps, tmp_path, database):
    path = tmp_path / "destinations.yaml"
    text = "destinations: [{name: %s, kind: file, settings: {directory: %s}}]"
    path.write_text(text % ("one", tmp_path / "one"))
    file = ConfigFile(path)
    manager = Manager(deps, Declared(file=file), lambda spec: kind_of(spec.kind).open(spec.settings))
    task = asyncio.create_task(manager.run())
    try:
        await eventually(lambda: has(database, {"one": "file"}))
        await gateway.send()
        await eventually(lambda: len(lines_in(tmp_path / "one")) == 3)
        path.write_text(text % ("one", tmp_path / "two"))
        await asyncio.sleep(EFFECT_SECONDS)
        await gateway.send()
        await eventually(lambda: lines_in(tmp_path / "two") == gateway.sent["result"][3:])
        path.write_text("rubbish")
        await asyncio.sleep(EFFECT_SECONDS)
        await gateway.send()
        await eventually(lambda: lines_in(tmp_path / "two") == gateway.sent["result"][3:])
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert not task.cancelled() or lines_in(tmp_path / "one") == gateway.sent["result"][:3]


async def test_one_that_the_api_made_is_not_taken_over_by_a_declaration(gateway, deps, tmp_path, database):
    path = tmp_path / "destinations.yaml"
    path.write_text("destinations: []")
    made = {"made": "api"}
    manager = Manager(deps, Declared(file=ConfigFile(path)), lambda spec: kind_of(spec.kind).open(spec.settings))
    with capture_logs() as logs:
        task = asyncio.create_task(manager.run())
        try:
            await put(deps, file_at(tmp_path / "by_api"))
            path.write_text(f"destinations: [{{name: made, kind: file, settings: {{directory: {tmp_path}/declared}}}}]")
            await eventually(lambda: len(refusals(logs)) == 1)
            await gateway.send()
            await eventually(lambda: lines_in(tmp_path / "by_api") == gateway.sent["result"])
            assert await has(database, made)
            await eventually(lambda: CONFIG_BROKEN._value.get() == 1)
            async with deps.sessions.begin() as session:
                await destinations.take_away(session, "made")
            await eventually(lambda: has(database, {"made": "file"}))
            await eventually(lambda: CONFIG_BROKEN._value.get() == 0)
        finally:
            task.cancel()
            await asyncio.wait([task])
    assert len(refusals(logs)) == 1


def refusals(logs) -> list[str]:
    return [entry["error"] for entry in logs if entry["event"] == "a declared destination is not followed"]


async def has(database, wanted: dict[str, str]) -> bool:
    return {row.name: row.origin for row in await database.rows(Row)} == wanted


@pytest.mark.parametrize(
    ("wanted", "is_taken"),
    [
        ({"platforms": ["ubuntu"]}, True),
        ({"platforms": ["darwin"]}, False),
        ({"labels": [9]}, True),
        ({"labels": [8]}, False),
    ],
)
async def test_what_inventory_knows_of_hosts_decides(gateway, deps, shipping, directory, database, wanted, is_taken):
    await database.add(Host(id=7, revision=1, host_identifier="h", platform="ubuntu", last_enrolled_at=utc_now()))
    await database.add(LabelMembership(label_id=9, host_id=7))
    sink = to_file(directory)
    sink.spec = sink.spec.model_copy(update={"filter": LogFilter(**wanted)})
    async with shipping(deps, sink):
        await gateway.send()

        async def settled() -> bool:
            entry = (await balanced(deps))["file", "result"]
            return (entry.delivered, entry.filtered) == ((3, 0) if is_taken else (0, 3))

        await eventually(settled)
    assert lines_in(directory) == (gateway.sent["result"] if is_taken else [])


async def test_a_destination_that_cannot_be_opened_fails_alone(
    gateway, deps, shipping, directory, tmp_path, monkeypatch
):
    def broken(_: object) -> None:
        raise TypeError("a library does not like a setting")

    await put(deps, Destination(name="broken", kind="webhook", settings={"url": "https://example.com"}))
    monkeypatch.setattr("log_shipper.sinks.webhook.KIND", Kind(WebhookSettings, broken))
    async with shipping(deps, to_file(directory)):
        await gateway.send()
        await eventually(lambda: lines_in(directory) == gateway.sent["result"])

        async def is_told() -> bool:
            async with deps.sessions.begin() as session:
                row = await session.get(Row, "broken")
                return row.failing_since is not None and "does not like" in row.last_error

        await eventually(is_told)
        await put(deps, file_at(tmp_path / "broken", name="broken"))
        await eventually(lambda: lines_in(tmp_path / "broken") or gateway.send())
        await eventually(lambda: lines_in(directory) == gateway.sent["result"])

    assert set(lines_in(tmp_path / "broken")) <= set(gateway.sent["result"])


async def test_what_is_delivered_while_a_destination_is_taken_away_is_in_its_books(gateway, deps, shipping, directory):
    class TakenAway(WatchedSink):
        async def deliver(self, batch, target):
            refusals = await super().deliver(batch, target)
            async with deps.sessions.begin() as session:
                await destinations.take_away(session, "file")
            return refusals

    await gateway.send()
    async with shipping(deps, TakenAway(FileSink(directory))):

        async def is_booked() -> bool:
            entry = (await balanced(deps))["file", "result"]
            return (entry.received, entry.delivered, entry.filtered, entry.pending) == (3, 3, 0, 0)

        await eventually(is_booked)

    assert lines_in(directory) == gateway.sent["result"]
