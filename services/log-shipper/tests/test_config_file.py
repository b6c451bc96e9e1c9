"""FLOTILLA_DESTINATIONS_CONFIG: read, refused readably, read again when it or a secret changes."""

import pytest
from flotilla_common.contracts.log_destinations import Destination
from flotilla_common.errors import Invalid
from log_shipper import config_file
from log_shipper.config_file import ConfigFile, read

ONE = """
destinations:
  - name: archive
    kind: s3
    settings:
      bucket: b
      access_key: k
      secret_key: {from_file: %s}
    filter: {log_types: [result], queries: [Ports]}
    batch: {seconds: 1}
"""


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_text("hush\n")
    return path


@pytest.fixture
def path(tmp_path, secret):
    path = tmp_path / "destinations.yaml"
    path.write_text(ONE % secret)
    return path


def test_a_file_names_destinations_and_where_secrets_are(path):
    [found] = read(path)

    assert (found.name, found.kind, found.filter.queries, found.batch.seconds) == ("archive", "s3", {"Ports"}, 1.0)
    assert found.settings["secret_key"].get_secret_value() == "hush"


def test_a_setting_may_come_from_the_environment(path, monkeypatch):
    monkeypatch.setenv("THE_KEY", "from outside")
    path.write_text(path.read_text().replace("access_key: k", "access_key: {from_environment: THE_KEY}"))

    assert read(path)[0].settings["access_key"] == "from outside"


def test_json_is_yaml_too(path):
    path.write_text('{"destinations": [{"name": "f", "kind": "file", "settings": {"directory": "/x"}}]}')

    assert [one.name for one in read(path)] == ["f"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("destinations:", "destination:"), "one member, `destinations`"),
        (("kind: s3", "kind: moon"), r"destinations\[0\]: there is no kind 'moon'"),
        (("name: archive", "name: Archive 1"), r"destinations\[0\]: name: String should match"),
        (("queries: [Ports]", "queries: []"), r"filter.queries: "),
        (("filter:", "filters:"), "filters: Extra inputs"),
        (("bucket: b", "bukket: b"), "settings.bukket"),
        (("from_file", "from_environment"), "no environment variable"),
        (("/secret}", "/missing}"), "No such file"),
        (("{log_types", "{{log_types"), "destinations.yaml: "),
        (("seconds: 1", "seconds: -1"), "batch.seconds: "),
    ],
)
def test_what_is_wrong_is_named(path, change, reason):
    path.write_text(path.read_text().replace(*change))

    with pytest.raises(Invalid, match=reason) as refused:
        read(path)

    assert "hush" not in str(refused.value)


def test_a_name_given_twice_is_refused(path):
    text = path.read_text()
    path.write_text(text + text.replace("destinations:\n", "").lstrip("\n"))

    with pytest.raises(Invalid, match="twice: archive"):
        read(path)


def files(*places) -> str:
    entries = [f"  - {{name: {name}, kind: file, settings: {{directory: {place}}}}}" for name, place in places]
    return "\n".join(["destinations:", *entries])


def test_a_directory_that_two_would_write_to_is_refused(path, tmp_path):
    path.write_text(files(("one", tmp_path), ("two", f"{tmp_path}/x/..")))

    with pytest.raises(Invalid, match=f"one and two would both write to {tmp_path}"):
        read(path)


def test_so_is_one_that_the_environment_names(path, tmp_path):
    environment = {"file": Destination(name="file", kind="file", settings={"directory": tmp_path})}
    path.write_text(files(("file", "/elsewhere"), ("two", tmp_path / "two")))
    assert len(read(path, environment)) == 2

    path.write_text(files(("two", tmp_path)))
    with pytest.raises(Invalid, match="two and file would both write"):
        ConfigFile(path, environment).look()


def test_it_makes_no_sense_until_it_is_mended(path):
    file, whole = ConfigFile(path), path.read_text()
    for broken in ("rubbish", None):
        file.look()
        path.unlink() if broken is None else path.write_text(broken)
        with pytest.raises(Invalid):
            file.look()
        if broken is not None:
            file.look()  # it is not read again
        assert not file.makes_sense
        path.write_text(whole)
        file.look()
        assert file.makes_sense


def test_a_yaml_file_builds_no_objects(path):
    path.write_text("destinations: !!python/object/apply:os.system ['true']")

    with pytest.raises(Invalid, match="could not determine a constructor"):
        read(path)


def test_it_is_read_again_when_it_changes_and_kept_when_it_makes_no_sense(path):
    file = ConfigFile(path)
    file.look()
    path.write_text(path.read_text().replace("name: archive", "name: attic"))
    file.look()
    assert list(file.destinations) == ["attic"]
    path.write_text("rubbish")

    with pytest.raises(Invalid):
        file.look()

    assert list(file.destinations) == ["attic"]


def test_a_secret_that_changes_is_found(path, secret, monkeypatch):
    monkeypatch.setattr(config_file, "AGAIN_SECONDS", 0.0)
    file = ConfigFile(path)
    file.look()
    secret.write_text("other")

    file.look()

    assert file.destinations["archive"].settings["secret_key"].get_secret_value() == "other"
