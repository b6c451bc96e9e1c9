"""Packs, bytes and limits of a plan."""

import hashlib
import json
import random

import pytest
from config_merger.domain.layers import AgentOptions, HostClass, Layers, ScheduledQuery, TeamOptions, class_of
from config_merger.domain.packs import packs_of, shape
from config_merger.domain.plans import CONFIG_LIMIT, compile_plan, etag_of
from config_merger.errors import NotAClass, PlanRefused
from flotilla_common.contracts.plans import RenderPlanV1
from hypothesis import given
from hypothesis import strategies as st

TEAM = HostClass(7, "ubuntu", (101,))


def query(query_id=1, team_id=None, **members):
    defaults = {"name": f"q{query_id}", "query": "SELECT 1", "interval_seconds": 60}
    return ScheduledQuery(**{"query_id": query_id, "team_id": team_id} | defaults | members)


def layers(*queries, document=None, reports_enabled=True):
    options = AgentOptions("global", document or {"config": {}}, present=True)
    return Layers(options, TeamOptions(AgentOptions("team-7")), queries, reports_enabled)


def packs(*queries, host_class=TEAM, **members):
    made = packs_of(layers(*queries, **members), host_class)
    return None if made is None else made.value


def test_global_and_team_queries_are_in_their_own_packs():
    assert {name: list(pack["queries"]) for name, pack in packs(query(1), query(2, 7), query(3, 8)).items()} == {
        "Global": ["q1"],
        "team-7": ["q2"],
    }


def test_a_host_of_no_team_gets_no_teams_pack():
    assert set(packs(query(1), query(2, 7), host_class=HostClass(None, "", ()))) == {"Global"}


def test_the_shapes_by_logging():
    common = {"query": "SELECT 1", "interval": 60, "platform": "", "version": ""}

    assert shape(query()) == common | {"snapshot": True}
    assert shape(query(logging="differential")) == common | {"removed": True}
    assert shape(query(logging="differential_ignore_removals")) == common | {"removed": False}


@pytest.mark.parametrize(
    ("members", "reports_enabled", "delivered"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"discard_data": True}, True, False),
        ({"logging": "differential"}, True, False),
        ({"automations_enabled": True, "logging": "differential"}, False, True),
        ({"automations_enabled": True, "discard_data": True}, False, True),
        ({"automations_enabled": True, "interval_seconds": 0}, True, False),
        ({"platform": "windows", "min_osquery_version": "99.0.0"}, True, True),
        ({"labels": frozenset({101, 5})}, True, True),
        ({"labels": frozenset({102})}, True, False),
    ],
)
def test_the_selection_rule(members, reports_enabled, delivered):
    assert (packs(query(**members), reports_enabled=reports_enabled) is not None) is delivered


def test_packs_of_the_server_overwrite_those_of_the_document_and_the_schedule_survives():
    document = {"config": {"packs": {"mine": {"queries": {}}}, "schedule": {"s": {"query": "SELECT 2"}}}}

    config = json.loads(compile_plan(layers(query(), document=document), TEAM).config)

    assert set(config["packs"]) == {"Global"}
    assert config["schedule"] == {"s": {"query": "SELECT 2"}}


def test_without_packs_of_the_server_the_documents_own_survive():
    document = {"config": {"packs": {"mine": {"queries": {}}}}}

    assert json.loads(compile_plan(layers(document=document), TEAM).config) == document["config"]


def test_provenance_names_the_query_of_a_pack():
    plan = compile_plan(layers(query(12, 7), document={"config": {"options": {"a": 1}}}), TEAM)

    assert plan.provenance == {"/options/a": "global", "/packs/team-7/queries/q12": "query:12"}


def shuffled(value, random_order):
    """The same JSON with the members of every object in another order."""
    if isinstance(value, list):
        return [shuffled(part, random_order) for part in value]
    if not isinstance(value, dict):
        return value
    names = list(value)
    random_order.shuffle(names)
    return {name: shuffled(value[name], random_order) for name in names}


NAMES = st.text(min_size=1, max_size=4)
OPTIONS = st.dictionaries(
    NAMES, st.integers() | st.text(max_size=4) | st.dictionaries(NAMES, st.booleans()), max_size=6
)


@given(OPTIONS, st.lists(st.tuples(NAMES, st.sampled_from([None, 7])), max_size=6, unique=True), st.randoms())
def test_any_order_of_rows_and_members_gives_the_same_bytes(options, names, random_order: random.Random):
    queries = [query(number, team, name=name) for number, (name, team) in enumerate(names)]
    one = compile_plan(layers(*queries, document={"config": {"options": options}}), TEAM)
    random_order.shuffle(queries)
    other = compile_plan(layers(*queries, document=shuffled({"config": {"options": options}}, random_order)), TEAM)

    assert one.config == other.config
    assert one.sha256 == other.sha256 == hashlib.sha256(one.config).hexdigest()
    assert one.provenance == other.provenance


def test_a_config_above_the_limit_is_refused():
    with pytest.raises(PlanRefused, match="bytes"):
        compile_plan(layers(document={"config": {"options": {"a": "x" * CONFIG_LIMIT}}}), TEAM)


def test_a_config_deeper_than_osquery_reads_is_refused():
    deep: dict[str, object] = {}
    for _ in range(40):
        deep = {"a": deep}

    with pytest.raises(PlanRefused, match="deeper"):
        compile_plan(layers(document={"config": deep}), TEAM)


def test_a_number_that_is_no_json_is_refused():
    with pytest.raises(PlanRefused):
        compile_plan(layers(document={"config": {"options": {"a": float("inf")}}}), TEAM)


def test_an_etag_is_never_ok():
    assert etag_of(hashlib.sha256(b"{}").hexdigest()) != "ok"


@pytest.mark.parametrize("platform", ["Ubuntu", "x" * 33, "a b", "a\n", "\x00"])
def test_a_platform_that_inventory_never_writes_is_no_class(platform):
    with pytest.raises(NotAClass):
        class_of(RenderPlanV1(team_id=None, platform=platform))


def test_the_order_of_scope_labels_makes_no_other_class():
    one = class_of(RenderPlanV1(team_id=1, platform="ubuntu", scope_labels=(3, 1, 3)))

    assert one == class_of(RenderPlanV1(team_id=1, platform="ubuntu", scope_labels=(1, 3)))
