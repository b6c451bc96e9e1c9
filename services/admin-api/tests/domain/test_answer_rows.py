"""Rows of an answer are read one by one: an odd one costs no other."""

from __future__ import annotations

import json
import time

import pytest
from admin_api.domain import answer_rows
from admin_api.domain.answer_rows import column_names, each_row
from prometheus_client import REGISTRY

DEEP = b"[" * 3000 + b"]" * 3000
DIGITS = "1" * 5000


def left_out() -> float:
    return REGISTRY.get_sample_value("flotilla_admin_api_unreadable_rows_total") or 0.0


@pytest.mark.parametrize(
    ("odd", "read"),
    [
        (b'{"a":"x","b":null,"c":{"d":[1,2.5]}}', {"a": "x", "b": "", "c": '{"d":[1,2.5]}'}),
        (b'{"a":' + DIGITS.encode() + b"}", {"a": DIGITS}),
        (b'{"a":1e400}', {"a": "Infinity"}),
        (b'{"a":"\xff","b":"]\\"},"}', {"a": "\ufffd", "b": ']"},'}),
        (b'{"a":"\\ud800","\\udc00":"y"}', {"a": "?", "?": "y"}),
        (b'{"a":NaN}', {"a": "NaN"}),
        (b'{"a":' + DEEP + b"}", None),
        (b"[1,2]", None),
        (b'"x"', None),
        (b"null", None),
        (b'{"a":}', None),
        (b'{"a" "b"}', None),
    ],
)
def test_an_odd_row_costs_no_other(odd, read):
    before = left_out()

    rows = list(each_row(b'[{"n":"1"}, ' + odd + b' ,{"n":"2"}]'))

    assert rows == [{"n": "1"}, *([] if read is None else [read]), {"n": "2"}]
    assert left_out() - before == (read is None)


@pytest.mark.parametrize("text", [b"[]", b"[ ]"])
def test_no_rows_are_nothing_to_count(text):
    before = left_out()

    assert list(each_row(text)) == []
    assert left_out() == before


@pytest.mark.parametrize("text", [b"", b"x", b"{}", b'"', b"[", b'[{"a":"1"', b"]", b",", b"\\"])
def test_what_is_no_list_has_no_rows(text):
    assert list(each_row(text)) == []


def test_an_endless_one_is_cut(monkeypatch):
    monkeypatch.setattr(answer_rows, "MOST_TOKENS", 1000)
    before = left_out()

    rows = list(each_row(b'[{"n":"1"},{"a":"\\ud800' + b'\\"' * 100 + b'"},' + b"[" * 5000))

    assert rows == [{"n": "1"}, {"a": "?" + '"' * 100}]
    assert left_out() - before == 1


def test_an_odd_escape_costs_no_row_of_many():
    rows = [{f"c{column}": "x" for column in range(8)} for _ in range(20_000)]

    assert len(list(each_row(json.dumps([*rows, {"a": "\ud800"}]).encode()))) == 20_001


def test_quotes_without_end_are_passed_over_once():
    began = time.process_time()

    assert list(each_row(b'[{"a":"' + b'\\"' * 500_000)) == []
    assert time.process_time() - began < 2.0  # each quote by itself would take minutes


@pytest.mark.parametrize("odd", [b"{}", b'{"c":"\\ud800"}', b'{"c":1e400}', b"[1]"])
def test_names_of_columns_are_in_their_order(odd):
    text = b'[{"b":"1","a":"2"},' + odd + b',{"d":null,"a":"3"}]'

    assert column_names(text) == list(dict.fromkeys(name for row in each_row(text) for name in row))
    assert column_names(text)[:2] == ["b", "a"]
