"""Answers that are written piece by piece read like those that are written at once."""

from __future__ import annotations

import json

import pytest
from admin_api.routes import pretty
from admin_api.routes.envelope import PrettyJSON
from admin_api.routes.pretty import pretty_parts


async def items(*values):
    for value in values:
        yield value


@pytest.mark.parametrize("rows_at_once", [1, 2, 200])
@pytest.mark.parametrize("number", [0, 1, 2, 3])
async def test_pieces_are_what_is_written_at_once(monkeypatch, number, rows_at_once):
    monkeypatch.setattr(pretty, "ROWS_AT_ONCE", rows_at_once)
    rows = [{"port": "22", "é\u2028": '\\\n"', "empty": {}, "list": []}] * number
    whole = {
        "n": 1,
        "none": None,
        "hosts": [{"id": 7, "rows": rows, "error": None}] * number,
        "last": [1, "x"],
        "o": {},
    }

    streamed = {**whole, "hosts": items(*({"id": 7, "rows": iter(rows), "error": None} for _ in range(number)))}
    text = b"".join([part async for part in pretty_parts(streamed, str)])

    assert text == bytes(PrettyJSON(whole).body)


async def test_a_long_answer_comes_in_pieces(monkeypatch):
    rows = [{"n": str(n)} for n in range(20_000)]

    parts = [part async for part in pretty_parts({"rows": iter(rows)}, str)]

    assert json.loads(b"".join(parts)) == {"rows": rows}
    assert max(map(len, parts)) < 2 * pretty.PIECE_BYTES
