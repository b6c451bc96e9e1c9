"""Destinations of the environment: read leniently, refused readably."""

import pytest
from flotilla_common.settings import SettingsError, load
from log_shipper import sinks
from log_shipper.declared import destination_of, settings_of
from log_shipper.domain.specs import checked

OWN = {
    "file": {"DIRECTORY": "/x"},
    "firehose": {"STREAM": "logs"},
    "kafka": {"BROKERS": "a:9092", "TOPIC": "logs"},
    "kinesis": {"STREAM": "logs"},
    "s3": {"BUCKET": "b", "ACCESS_KEY": "k", "SECRET_KEY": "s"},
    "elasticsearch": {"URL": "https://es.example.com", "INDEX": "osquery"},
    "splunk": {"URL": "https://splunk.example.com:8088", "TOKEN": "t"},
    "webhook": {"URL": "https://example.com/hook"},
    "stdout": {},
}


@pytest.fixture(params=sorted(OWN))
def kind(request, monkeypatch) -> str:
    for name, value in {"NATS_URL": "x", "NATS_USER": "u", "NATS_PASSWORD": "p", "HEALTH_PORT": "0"}.items():
        monkeypatch.setenv(f"FLOTILLA_{name}", value)
    for name, value in OWN[request.param].items():
        monkeypatch.setenv(f"FLOTILLA_{request.param.upper()}_{name}", value)
    return request.param


def declared(kind: str):
    return destination_of(kind, load(settings_of(kind)))


def test_every_kind_is_covered_here():
    assert set(sinks.kinds()) == set(OWN)


def test_its_own_settings_are_enough(kind):
    found = declared(kind)

    assert (found.name, found.kind, found.filter.log_types) == (kind, kind, {"result", "status"})
    assert checked(found) == found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("status", {"status"}), (" result , status,", {"result", "status"}), ("result,result", {"result"})],
)
def test_spaces_and_repeats_do_no_harm(kind, text, wanted, monkeypatch):
    monkeypatch.setenv(f"FLOTILLA_{kind.upper()}_LOG_TYPES", text)

    assert declared(kind).filter.log_types == wanted


@pytest.mark.parametrize(
    ("text", "reason"),
    [("result,moon", "unknown log types moon; there are result, status"), (" , ", "no value"), ("", "no value")],
)
def test_what_is_no_log_type_is_refused_readably(kind, text, reason, monkeypatch):
    name = f"FLOTILLA_{kind.upper()}_LOG_TYPES"
    monkeypatch.setenv(name, text)

    with pytest.raises(SettingsError, match=f"{name}.*{reason}"):
        load(settings_of(kind))


def test_all_that_destinations_have_can_be_said(kind, monkeypatch):
    said = {
        "QUERIES": "Ports, Users", "PACKS": "Global", "TEAMS": "0,3", "LABELS": "7", "PLATFORMS": "ubuntu",
        "BATCH_BYTES": "4096", "BATCH_LINES": "10", "BATCH_SECONDS": "2.5", "LINES_PER_SECOND": "100",
        "BYTES_PER_SECOND": "1e6",
    }  # fmt: skip
    for name, value in said.items():
        monkeypatch.setenv(f"FLOTILLA_{kind.upper()}_{name}", value)

    found = declared(kind)

    assert found.filter.queries == {"Ports", "Users"}
    assert (found.filter.packs, found.filter.teams, found.filter.labels) == ({"Global"}, {0, 3}, {7})
    assert (found.batch.bytes, found.batch.lines, found.batch.seconds) == (4096, 10, 2.5)
    assert (found.rate.lines_per_second, found.rate.bytes_per_second) == (100.0, 1e6)
