"""Which layer wins, in both modes."""

import pytest
from config_merger.domain.agent_options import config_of
from config_merger.domain.defaults import DEFAULT_AGENT_OPTIONS
from config_merger.domain.layers import AgentOptions, Layers, TeamOptions

GLOBAL = {
    "config": {"options": {"distributed_interval": 10, "pack_delimiter": "/"}, "decorators": {"load": ["a", "b"]}},
    "overrides": {"platforms": {"darwin": {"options": {"distributed_interval": 60}}}},
}
NOTHING = object()


def config(platform="ubuntu", team=NOTHING, mode="replace", installation=GLOBAL):
    """The config by a team's document; NOTHING: no value, None: JSON null. Without `mode` there is no team."""
    base = AgentOptions("global", installation, present=True) if installation is not NOTHING else AgentOptions("global")
    document = AgentOptions("team-7") if team is NOTHING else AgentOptions("team-7", team, present=True)
    return config_of(Layers(base, TeamOptions(document, mode) if mode else None), platform)


def test_a_host_of_no_team_gets_the_installations_config():
    assert config(mode=None).value == GLOBAL["config"]


def test_an_installation_without_agent_options_has_the_built_in_ones():
    assert config(mode=None, installation=NOTHING).value == DEFAULT_AGENT_OPTIONS["config"]


def test_cleared_agent_options_are_an_empty_config():
    assert config(mode=None, installation=None).value == {}


def test_replace_takes_the_teams_document_alone():
    assert config(team={"config": {"options": {"verbose": True}}}).value == {"options": {"verbose": True}}


def test_replace_without_a_value_falls_back_to_the_installation():
    assert config().value == GLOBAL["config"]


@pytest.mark.parametrize("document", [None, {}, {"config": None}, {"config": {}}, {"overrides": {}}])
def test_replace_with_null_or_an_empty_document_is_an_empty_config(document):
    assert config(team=document).value == {}


def test_replace_lets_a_platform_override_replace_the_whole_config():
    assert config("darwin").value == {"options": {"distributed_interval": 60}}


def test_replace_does_not_look_at_the_overrides_of_the_installation():
    assert config("darwin", team={"config": {"options": {"a": 1}}}).value == {"options": {"a": 1}}


def test_an_override_for_linux_does_not_match_ubuntu():
    document = {"config": {"options": {"a": 1}}, "overrides": {"platforms": {"linux": {"options": {"a": 2}}}}}

    assert config("ubuntu", team=document).value == {"options": {"a": 1}}


def test_replace_keeps_nulls_of_the_document():
    assert config(team={"config": {"options": {"a": None}}}).value == {"options": {"a": None}}


@pytest.mark.parametrize("odd", [[], "x", 7, {"config": []}, {"overrides": 3}, {"overrides": {"platforms": []}}])
def test_a_document_of_odd_shape_is_an_empty_config(odd):
    assert config(team=odd).value == {}


@pytest.mark.parametrize("document", [NOTHING, None, {}, {"config": {}}])
def test_merge_with_nothing_stated_is_what_hosts_of_no_team_get(document):
    assert config(team=document, mode="merge").value == config(mode=None).value


def test_merge_states_only_what_differs_and_null_deletes():
    document = {"config": {"options": {"distributed_interval": 30, "pack_delimiter": None}}}

    merged = config(team=document, mode="merge")

    assert merged.value == {"options": {"distributed_interval": 30}, "decorators": {"load": ["a", "b"]}}
    assert merged.provenance() == {"/options/distributed_interval": "team-7", "/decorators/load": "global"}


def test_merge_replaces_arrays_as_a_whole():
    document = {"config": {"decorators": {"load": ["c"]}}}

    assert config(team=document, mode="merge").value["decorators"] == {"load": ["c"]}


def test_merge_lays_overrides_over_the_merged_config_the_teams_last():
    document = {
        "config": {"options": {"distributed_interval": 30, "verbose": True}},
        "overrides": {"platforms": {"darwin": {"options": {"verbose": None, "pack_delimiter": "_"}}}},
    }

    merged = config("darwin", team=document, mode="merge")

    assert merged.value["options"] == {"distributed_interval": 60, "pack_delimiter": "_"}
    assert merged.provenance() == {
        "/options/distributed_interval": "global:overrides.platforms.darwin",
        "/options/pack_delimiter": "team-7:overrides.platforms.darwin",
        "/decorators/load": "global",
    }


@pytest.mark.parametrize(
    "dropped", [{"overrides": None}, {"overrides": {"platforms": None}}, {"overrides": {"platforms": {"darwin": None}}}]
)
def test_merge_lets_a_team_drop_the_installations_override(dropped):
    assert config("darwin", team=dropped, mode="merge").value == GLOBAL["config"]


def test_merge_with_a_null_config_starts_from_nothing():
    assert config("darwin", team={"config": None}, mode="merge").value == {"options": {"distributed_interval": 60}}
