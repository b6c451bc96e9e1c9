"""What osqueryd makes of answers."""

import pytest
from osquery_simulator.verdict import Judgement, judge, node_key_in


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[]", b"[1]", b"true", b"false", b'{"message":"Bad"}'])
def test_an_empty_body_null_booleans_arrays_and_objects_without_error_are_a_success(body: bytes) -> None:
    assert judge(body).judgement is Judgement.SUCCESS


def test_an_empty_body_is_noticed_as_such() -> None:
    assert judge(b"").is_empty
    assert not judge(b"{}").is_empty


@pytest.mark.parametrize("body", [b'{"error":null}', b'{"error":""}', b'{"error":{},"x":1}'])
def test_the_presence_of_error_is_a_failure_whatever_its_value(body: bytes) -> None:
    assert judge(body).judgement is Judgement.FAILURE


@pytest.mark.parametrize("body", [b"<html></html>", b"{", b"{}x", b"\x1f\x8b\x08", b'{"a":NaN}', b"[" * 33 + b"]" * 33])
def test_what_is_no_strict_json_is_a_failure(body: bytes) -> None:
    assert judge(body).judgement is Judgement.FAILURE


def test_a_nesting_of_32_levels_is_still_read() -> None:
    assert judge(b'{"a":' + b"[" * 31 + b"]" * 31 + b"}").is_success


def test_only_a_json_true_makes_the_node_invalid() -> None:
    assert judge(b'{"node_invalid":true,"error":"x"}').judgement is Judgement.NODE_INVALID
    assert judge(b'{"node_invalid":"true"}').is_success
    assert judge(b'{"node_invalid":1}').is_success
    assert judge(b'{"node_invalid":false}').is_success


@pytest.mark.parametrize("body", [b'"x"', b"5", b"1.5"])
def test_a_bare_string_or_number_crashes_the_worker(body: bytes) -> None:
    assert judge(body).judgement is Judgement.CRASH


def test_a_key_is_taken_from_node_key_or_id_even_beside_an_error() -> None:
    assert node_key_in(b'{"node_key":"k","error":"x","node_invalid":true}') == "k"
    assert node_key_in(b'{"id":"k"}') == "k"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"node_key":""}', b'{"node_key":5}', b"<html>", b"[]", b'"k"'])
def test_no_key_is_found_where_there_is_none(body: bytes) -> None:
    assert node_key_in(body) == ""
