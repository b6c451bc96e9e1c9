"""Settings: environment, files for secrets, one readable message."""

import base64

import pytest
from flotilla_common.settings import CommonSettings, DatabaseSettings, SecretsKey, SettingsError, key_bytes, load

GOOD = {
    "FLOTILLA_NATS_URL": "nats://127.0.0.1:4222",
    "FLOTILLA_NATS_USER": "inventory",
    "FLOTILLA_NATS_PASSWORD": "p",
    "FLOTILLA_HEALTH_PORT": "9101",
}


@pytest.fixture
def environment(monkeypatch):
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_settings_come_from_the_environment_and_secrets_do_not_show(environment):
    settings = load(CommonSettings)

    assert settings.health_port == 9101
    assert settings.nats_password.get_secret_value() == "p"
    assert "'p'" not in repr(settings)


def test_a_secret_may_come_from_a_file(environment, tmp_path):
    (tmp_path / "url").write_text("postgresql+psycopg://x\n")
    environment.setenv("FLOTILLA_DATABASE_URL_FILE", str(tmp_path / "url"))

    assert load(DatabaseSettings).database_url.get_secret_value() == "postgresql+psycopg://x"


def test_both_a_value_and_a_file_are_refused(environment, tmp_path):
    (tmp_path / "p").write_text("q")
    environment.setenv("FLOTILLA_NATS_PASSWORD_FILE", str(tmp_path / "p"))

    with pytest.raises(SettingsError, match="both set"):
        load(CommonSettings)


def test_an_unreadable_file_is_named(environment, tmp_path):
    environment.delenv("FLOTILLA_NATS_PASSWORD")
    environment.setenv("FLOTILLA_NATS_PASSWORD_FILE", str(tmp_path / "absent"))

    with pytest.raises(SettingsError, match="FLOTILLA_NATS_PASSWORD_FILE: cannot read"):
        load(CommonSettings)


def test_everything_wrong_is_said_at_once_with_its_meaning(environment):
    environment.delenv("FLOTILLA_NATS_URL")
    environment.setenv("FLOTILLA_HEALTH_PORT", "none")

    with pytest.raises(SettingsError) as caught:
        load(CommonSettings)

    assert "FLOTILLA_NATS_URL" in str(caught.value)
    assert "NATS servers, comma separated" in str(caught.value)
    assert "FLOTILLA_HEALTH_PORT" in str(caught.value)


class KeySettings(CommonSettings):
    secrets_key: SecretsKey


def test_a_key_of_secrets_is_32_bytes(environment):
    environment.setenv("FLOTILLA_SECRETS_KEY", base64.b64encode(b"k" * 32).decode())

    assert key_bytes(load(KeySettings).secrets_key) == b"k" * 32


@pytest.mark.parametrize("key", ["", "not base64!", base64.b64encode(b"k" * 31).decode(), "k" * 32])
def test_another_key_is_refused_and_not_shown(environment, key):
    environment.setenv("FLOTILLA_SECRETS_KEY", key)

    with pytest.raises(SettingsError, match=r"FLOTILLA_SECRETS_KEY: .*openssl rand -base64 32") as caught:
        load(KeySettings)
    assert not key or key not in str(caught.value)
