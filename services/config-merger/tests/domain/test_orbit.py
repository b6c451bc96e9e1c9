"""What orbit and the desktop get: which document counts, what is left out."""

import json

import pytest
from config_merger.domain.layers import AgentOptions, Desktop, HostClass, Layers, TeamOptions
from config_merger.domain.orbit import ORBIT_LIMIT, compile_orbit, orbit_config
from config_merger.errors import PlanRefused

WHOLE = {
    "config": {"options": {}},
    "script_execution_timeout": 600,
    "command_line_flags": {"verbose": True},
    "extensions": {"inventory_linux": {"channel": "stable", "platform": "linux"}},
    "update_channels": {"orbit": "stable", "osqueryd": "5.17.0", "desktop": "edge"},
}
SENT = {
    "script_execution_timeout": 600,
    "command_line_startup_flags": {"verbose": True},
    "extensions": {"inventory_linux": {"channel": "stable", "platform": "linux"}},
    "notifications": {},
    "update_channels": {"orbit": "stable", "osqueryd": "5.17.0", "desktop": "edge"},
}
NOTHING = {"notifications": {}}


def of(platform, *labels):
    return HostClass(None, platform, labels)


UBUNTU = of("ubuntu")


def layers(document=None, team=None, mode="replace"):
    options = AgentOptions("global", document, present=document is not None)
    return Layers(options, None if team is None else TeamOptions(team, mode))


def team_options(document):
    return AgentOptions("team-7", document, present=True)


def test_a_host_of_no_team_gets_all_that_the_installation_sets():
    assert orbit_config(layers(WHOLE), UBUNTU) == SENT


def test_a_team_that_replaces_never_falls_back_to_the_installation():
    assert orbit_config(layers(WHOLE, AgentOptions("team-7")), UBUNTU) == NOTHING
    assert orbit_config(layers(WHOLE, team_options({})), UBUNTU) == NOTHING
    assert orbit_config(layers(None, team_options(WHOLE)), UBUNTU) == SENT


def test_a_team_that_merges_states_only_what_differs():
    team = team_options({"command_line_flags": {"verbose": None, "logger_path": "/x"}, "update_channels": None})

    config = orbit_config(layers(WHOLE, team, "merge"), UBUNTU)

    assert config["command_line_startup_flags"] == {"logger_path": "/x"}
    assert "update_channels" not in config
    assert config["script_execution_timeout"] == 600


@pytest.mark.parametrize("value", [None, [], "x", 5])
def test_what_is_no_object_is_absent_and_never_null(value):
    document = dict.fromkeys(("command_line_flags", "extensions", "update_channels"), value)

    assert orbit_config(layers(document), UBUNTU) == NOTHING


def test_flags_that_were_emptied_are_sent_empty():
    assert orbit_config(layers({"command_line_flags": {}}), UBUNTU) == NOTHING | {"command_line_startup_flags": {}}


@pytest.mark.parametrize("value", [0, -1, None, True, "600"])
def test_a_timeout_that_is_none_is_absent(value):
    assert orbit_config(layers({"script_execution_timeout": value}), UBUNTU) == NOTHING


@pytest.mark.parametrize(
    ("platform", "names"),
    [("darwin", ["m"]), ("windows", ["w"]), ("ubuntu", ["l"]), ("rhel", ["l"]), ("chrome", []), ("", [])],
)
def test_extensions_are_those_of_the_platform(platform, names):
    made = {
        name: {"platform": system} for name, system in (("m", "macos"), ("w", "windows"), ("l", "linux"), ("odd", None))
    }

    assert list(orbit_config(layers({"extensions": made}), of(platform)).get("extensions", {})) == names


def test_an_extension_goes_to_hosts_in_all_its_labels_and_an_empty_list_means_all():
    made = {
        "some": {"platform": "linux", "channel": "stable", "labels": ["Servers", "Berlin"]},
        "all": {"platform": "linux", "channel": "stable", "labels": []},
        "odd": {"platform": "linux", "channel": "stable", "labels": "Servers"},
        "odder": {"platform": "linux", "channel": "stable", "labels": [5]},
    }
    known = Layers(AgentOptions("global", {"extensions": made}), label_ids={"Servers": 11, "Berlin": 12})

    sent = {labels: list(orbit_config(known, of("ubuntu", *labels))["extensions"]) for labels in ((), (11,), (11, 12))}

    assert sent == {(): ["all"], (11,): ["all"], (11, 12): ["some", "all"]}
    assert orbit_config(known, of("ubuntu", 11, 12))["extensions"]["some"] == {"platform": "linux", "channel": "stable"}


def test_the_order_of_members_does_not_change_the_bytes():
    one = compile_orbit(layers(WHOLE), UBUNTU)
    other = compile_orbit(layers(dict(reversed(WHOLE.items()))), UBUNTU)

    assert one == other


def test_the_desktop_is_told_who_runs_this():
    desktop = Desktop("Example", "https://logo", "https://light", "https://help", "https://what-we-see")

    plan = json.loads(compile_orbit(Layers(AgentOptions("global"), desktop=desktop), of("darwin")).body)

    assert plan["transparency_url"] == "https://what-we-see"
    assert plan["desktop"]["config"]["org_info"] == {
        "org_name": "Example",
        "org_logo_url": "https://logo",
        "org_logo_url_light_background": "https://light",
        "contact_url": "https://help",
    }


def test_a_plan_without_end_is_refused():
    with pytest.raises(PlanRefused, match="bytes"):
        compile_orbit(layers({"command_line_flags": {"a": "x" * ORBIT_LIMIT}}), UBUNTU)
