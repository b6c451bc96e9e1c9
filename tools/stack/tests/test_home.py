"""The directory of an installation, its keys and its passwords."""

import datetime
import os
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from flotilla_stack import unused
from flotilla_stack.certificates import make_keys
from flotilla_stack.home import HomeError, hold, open_home
from flotilla_stack.passwords import load_passwords

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def test_a_home_is_private(tmp_path: Path) -> None:
    home = open_home(tmp_path / "flotilla")

    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to another user")
def test_a_home_of_another_user_is_refused_with_advice(tmp_path: Path) -> None:
    foreign = tmp_path / "flotilla"
    foreign.mkdir()
    os.chown(foreign, 65534, 65534)

    with pytest.raises(HomeError, match=r"belongs to user 65534, and you are user 0: .*--home"):
        open_home(foreign)


def test_only_one_holds_a_home(tmp_path: Path) -> None:
    home = open_home(tmp_path / "flotilla")
    with hold(home), pytest.raises(HomeError, match=f"supervisor pid {os.getpid()}"), hold(home):
        pass
    with hold(home):
        pass


def test_where_nobody_can_see_what_runs_nothing_is_called_unused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FLOTILLA_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd" / "lock").mkdir(parents=True)

    assert (unused.main([str(tmp_path / "odd")]), unused.main([str(tmp_path / "none")])) == (1, 0)
    assert f"cannot see whether Flotilla runs in {tmp_path / 'odd'}: Is a directory" in capsys.readouterr().err


def test_passwords_stay_and_new_services_get_theirs(tmp_path: Path) -> None:
    service_file, owner_file = tmp_path / "secrets.json", tmp_path / "owner.json"
    first = load_passwords(service_file, owner_file)
    text = service_file.read_text().replace('"analytics"', '"an_old_name"')
    service_file.write_text(text)
    second = load_passwords(service_file, owner_file)

    assert second.admin == first.admin
    assert second.postgres["inventory"] == first.postgres["inventory"]
    assert second.postgres["analytics"] != first.postgres["analytics"]
    assert stat.S_IMODE(service_file.stat().st_mode) == 0o600


def test_the_certificate_is_for_localhost_and_both_halves_of_the_signing_key_fit(tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "keys", NOW)
    names = x509.load_pem_x509_certificate(keys.certificate.read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(keys.certificate, keys.key)
    private = load_pem_private_key(keys.signing.read_bytes(), password=None)
    public = load_pem_public_key(keys.command_keys.read_bytes())

    assert names.value.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.value.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert private.public_key() == public


def test_only_certificates_that_end_soon_are_renewed(tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "keys", NOW)
    files = (keys.ca, keys.signing, keys.secrets_key, keys.destinations_key)
    before = [path.read_bytes() for path in files]
    make_keys(tmp_path / "keys", NOW + datetime.timedelta(days=700))
    kept = [path.read_bytes() for path in files]
    make_keys(tmp_path / "keys", NOW + datetime.timedelta(days=790))
    renewed = [path.read_bytes() for path in files]

    assert kept == before
    assert renewed[0] != before[0]
    assert renewed[1:] == before[1:]
