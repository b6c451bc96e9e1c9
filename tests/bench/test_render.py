"""The README's figures are those of the files of results, and nothing else."""

from __future__ import annotations

import json

import pytest

from bench import render
from bench.run import LONG, PARTS, name_of


def test_the_readme_shows_the_results_as_they_are():
    text = render.README.read_text("utf-8")

    assert render.rendered(text) == text, "run: make figures"


def row(measure, figure, unit, limit, ratio="", *, at_least=False, met=False) -> dict[str, object]:
    return {
        "measure": measure, "figure": figure, "unit": unit, "limit": limit, "ratio": ratio, "at_least": at_least,
        "met": met,
    }  # fmt: skip


def test_misses_are_named_with_their_size(tmp_path, monkeypatch):
    rows = [
        row("a", 2.4, "us", 1.2),
        row("b", 150000.0, "/s", 200000, "r", at_least=True),
        row("c", 0.0, "", 0, met=True),
        row("d", 5.0, "x", None, met=True),
        row("e", None, "", None, "no nginx"),
    ]
    document = {"measured_at": "2026-11-27T00:32:45+00:00", "machine": {"cores": 2}, "rows": rows}
    (tmp_path / "latest.json").write_text(json.dumps(document), "utf-8")
    (tmp_path / "viewer.json").write_text(json.dumps(document | {"rows": []}), "utf-8")
    (tmp_path / "partial.json").write_text("{", "utf-8")
    monkeypatch.setattr(render, "RESULTS", tmp_path)

    found = render.figures()

    assert "| a | 2.4 us | ≤ 1.2 | **missed: 2.00 x the limit** |  |" in found
    assert "| b | 150,000 /s | ≥ 200,000 | **missed: 0.75 x the limit** | r |" in found
    assert "| c | 0  | ≤ 0 | met |  |" in found
    assert "| d | 5 x |  |  |  |" in found
    assert "| e | -  |  | not measured | no nginx |" in found
    assert found.index("`make bench`, 2026-11-27") < found.index('`make bench ARGS="--only=viewer"`')


@pytest.mark.parametrize(
    ("parts", "name"), [(PARTS, "latest"), (LONG[:1], LONG[0]), (LONG[:2], "partial"), (PARTS[:1], "partial")]
)
def test_what_is_kept_of_which_run(parts, name):
    assert name_of(parts) == name
