"""FILE_LOG_TYPES and S3_LOG_TYPES: read leniently, refused readably."""

import pytest
from flotilla_common.settings import SettingsError, load
from log_shipper.sinks import file, s3

KINDS = [(file.Settings, "file_log_types"), (s3.Settings, "s3_log_types")]

pytestmark = pytest.mark.parametrize(("settings", "name"), KINDS)


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    common = {"NATS_URL": "nats://127.0.0.1:1", "NATS_USER": "u", "NATS_PASSWORD": "p", "HEALTH_PORT": "0"}
    s3_settings = {"S3_BUCKET": "b", "S3_ACCESS_KEY": "k", "S3_SECRET_KEY": "s"}
    for key, value in {**common, **s3_settings, "LOG_DIRECTORY": str(tmp_path)}.items():
        monkeypatch.setenv(f"FLOTILLA_{key}", value)


def test_all_log_types_are_the_default(settings, name):
    assert getattr(load(settings), name) == {"result", "status"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("status", {"status"}), (" result , status,", {"result", "status"}), ("result,result", {"result"})],
)
def test_spaces_and_repeats_do_no_harm(settings, name, text, wanted, monkeypatch):
    monkeypatch.setenv(f"FLOTILLA_{name.upper()}", text)

    assert getattr(load(settings), name) == wanted


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("result,moon", "unknown log types moon; there are result, status"),
        (" , ", "no log type; there are"),
        ("", "no log"),
    ],
)
def test_what_is_no_log_type_is_refused_readably(settings, name, text, reason, monkeypatch):
    monkeypatch.setenv(f"FLOTILLA_{name.upper()}", text)

    with pytest.raises(SettingsError, match=f"FLOTILLA_{name.upper()}.*{reason}"):
        load(settings)
