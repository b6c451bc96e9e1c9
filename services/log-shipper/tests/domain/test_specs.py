"""Settings of a destination: checked by its kind, shown without secrets, kept encrypted."""

import json

import pytest
from flotilla_common.contracts.log_destinations import Destination
from flotilla_common.errors import Invalid
from log_shipper import sinks
from log_shipper.domain.specs import MASK, checked, restored, says_where, sealed, shown, with_kept_secrets
from pydantic import BaseModel, SecretStr

KEY = b"k" * 32
SETTINGS = {"bucket": "b", "access_key": "k", "secret_key": "hush hush"}


@pytest.fixture
def spec() -> Destination:
    return checked(Destination(name="archive", kind="s3", settings=SETTINGS))


def test_what_is_shown_holds_no_secret(spec):
    found = shown(spec)

    assert found["settings"] == {
        "endpoint": "", "bucket": "b", "region": "us-east-1", "access_key": "k", "secret_key": MASK, "prefix": "logs",
        "format": "ndjson", "layout": "hour", "most_queries": 100,
    }  # fmt: skip
    assert "hush" not in json.dumps(found) + repr(spec)


def test_what_was_shown_and_sealed_comes_back(spec):
    secrets = sealed(spec, KEY)

    assert b"hush" not in secrets
    assert restored(shown(spec), secrets, KEY) == spec


def test_secrets_belong_to_one_destination_and_one_key(spec):
    secrets, other = sealed(spec, KEY), shown(spec) | {"name": "other"}

    with pytest.raises(Invalid, match="another FLOTILLA_SECRETS_KEY"):
        restored(other, secrets, KEY)
    with pytest.raises(Invalid, match="another FLOTILLA_SECRETS_KEY"):
        restored(shown(spec), secrets, b"x" * 32)
    with pytest.raises(Invalid, match="FLOTILLA_SECRETS_KEY is not set"):
        restored(shown(spec), secrets, None)


def test_a_destination_without_secrets_needs_no_key(tmp_path):
    spec = checked(Destination(name="f", kind="file", settings={"directory": str(tmp_path)}))

    assert sealed(spec, KEY) is None
    assert restored(shown(spec), None, None) == spec


def test_a_masked_secret_is_the_one_of_before(spec):
    sent = Destination.model_validate(shown(spec) | {"settings": shown(spec)["settings"] | {"bucket": "c"}})

    kept = with_kept_secrets(sent, spec)

    assert kept.settings["secret_key"].get_secret_value() == "hush hush"
    assert kept.settings["bucket"] == "c"


@pytest.mark.parametrize("change", [{"endpoint": "http://evil.example"}, {"region": "eu-x"}, {"access_key": "other"}])
def test_a_kept_secret_goes_nowhere_else(spec, change):
    sent = Destination.model_validate(shown(spec) | {"settings": shown(spec)["settings"] | change})
    with pytest.raises(Invalid, match="changes where secrets go: give secret_key again"):
        with_kept_secrets(sent, spec)

    given = sent.model_copy(update={"settings": sent.settings | {"secret_key": "new"}})
    assert with_kept_secrets(given, spec).settings["secret_key"].get_secret_value() == "new"


def test_settings_that_say_where_secrets_go_are_these():
    """A new setting of whatever type is one of them, until somebody has thought about it."""
    found = {kind: set(says_where(kind)) for kind in sinks.kinds() if kind not in {"file", "stdout"}}

    aws = {"region", "endpoint", "access_key"}
    assert found == {
        "elasticsearch": {"url", "ca_certificate", "username"},
        "firehose": aws,
        "kafka": {"brokers", "security_protocol", "sasl_mechanism", "username", "ca_certificate"},
        "kinesis": aws,
        "s3": aws,
        "splunk": {"url", "ca_certificate"},
        "webhook": {"url", "ca_certificate"},
    }


class Numbered(BaseModel):
    """Settings that no kind has yet: neither a number nor a switch may be taken for harmless by its type."""

    url: str = "https://a.test"
    port: int = 443
    verify: bool = True
    ca_file: str | None = "ca.pem"
    token: SecretStr = SecretStr("")


@pytest.mark.parametrize("change", [{"port": 8443}, {"verify": False}, {"ca_file": None}])
def test_a_setting_that_nobody_knows_may_say_where_whatever_its_type(monkeypatch, change):
    kind = sinks.Kind(Numbered, Numbered)
    monkeypatch.setattr(sinks, "kind_of", lambda _: kind)
    before = checked(Destination(name="n", kind="numbered", settings={"token": "hush"}))
    sent = Destination(name="n", kind="numbered", settings={"token": MASK} | change)

    with pytest.raises(Invalid, match=f"settings.{next(iter(change))} changes where secrets go: give token again"):
        with_kept_secrets(sent, before)


def test_a_kept_secret_goes_to_no_other_kind(spec):
    settings = {"stream": "s", "region": "us-east-1", "access_key": "k", "secret_key": MASK}
    other = Destination(name=spec.name, kind="kinesis", settings=settings)

    with pytest.raises(Invalid, match="another kind needs secrets of its own"):
        with_kept_secrets(other, spec)


@pytest.mark.parametrize(
    ("kind", "settings", "reason"),
    [
        ("moon", {}, "there is no kind 'moon' of destination; there are .*file.*s3"),
        ("s3", {}, "settings.bucket: Field required; settings.access_key"),
        ("s3", SETTINGS | {"bukket": "b"}, "settings.bukket: Extra inputs"),
        ("s3", SETTINGS | {"secret_key": ["hush"]}, "settings.secret_key: Input should be a valid string"),
        ("../file", {}, "there is no kind"),
    ],
)
def test_what_is_wrong_is_named_and_shows_no_value(kind, settings, reason):
    with pytest.raises(Invalid, match=reason) as refused:
        checked(Destination(name="x", kind=kind, settings=settings))

    assert "hush" not in str(refused.value)
