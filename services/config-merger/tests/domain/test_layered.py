"""RFC 7396, and where each leaf came from."""

from typing import Any

from config_merger.domain.layered import overlay, whole
from hypothesis import given
from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=3), parts, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=3), JSON, max_size=4)


def merge(below: Any, patch: Any) -> Any:
    return overlay(whole(below, "below"), patch, "patch").value


def by_the_rfc(target: Any, patch: Any) -> Any:
    """The pseudo code of RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = by_the_rfc(target.get(name), value)
    return target


def test_the_examples_of_the_rfc():
    for target, patch, result in [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ]:
        assert merge(target, patch) == result


@given(JSON, JSON)
def test_any_merge_is_that_of_the_rfc(target, patch):
    assert merge(target, patch) == by_the_rfc(target, patch)


@given(OBJECTS, OBJECTS)
def test_a_merge_leaves_its_arguments_alone_and_twice_is_once(target, patch):
    before = repr((target, patch))

    once = merge(target, patch)

    assert merge(once, patch) == once
    assert repr((target, patch)) == before


@given(OBJECTS, OBJECTS)
def test_every_leaf_has_an_origin_and_nothing_else_has(target, patch):
    merged = overlay(whole(target, "below"), patch, "patch")

    assert set(merged.provenance()) == set(whole(merged.value, "any").provenance())


def test_the_origin_of_a_leaf_is_the_layer_that_said_it():
    below = whole({"options": {"a": 1, "b": 2}, "x/y": [1]}, "global")

    merged = overlay(below, {"options": {"b": 3, "c": 4}}, "team-7")

    assert merged.provenance() == {
        "/options/a": "global",
        "/options/b": "team-7",
        "/options/c": "team-7",
        "/x~1y": "global",
    }
