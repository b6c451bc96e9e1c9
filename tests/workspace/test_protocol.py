"""docs/protocol.md: all 85 traps, each with tests that exist or with the owner of what is not built yet."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRAPS = 85
GATEWAY = "services/agent-gateway/tests"
ROW = re.compile(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
TEST = re.compile(r"([\w./-]+\.py)::(test_\w+)")
OWNER = re.compile(r"\blater\b")
PAGE = (ROOT / "docs/protocol.md").read_text("utf-8")
ROWS = [(int(number), shown_by) for number, _, shown_by in ROW.findall(PAGE)]
NAMED = sorted(set(TEST.findall(PAGE)))


def test_every_trap_is_listed_once_and_in_order() -> None:
    assert [number for number, _ in ROWS] == list(range(1, TRAPS + 1))


def test_every_trap_has_a_test_or_an_owner() -> None:
    assert [number for number, shown_by in ROWS if not TEST.search(shown_by) and not OWNER.search(shown_by)] == []


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_every_test_that_is_named_exists(path: str, name: str) -> None:
    file = ROOT / re.sub("^gw/", f"{GATEWAY}/", path)
    tree = ast.parse(file.read_text("utf-8"))

    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("path", sorted({path for path, _ in NAMED if path.startswith(("gw/traps/", "gw/routes/"))}))
def test_the_gateways_traps_are_run_on_both_roads(path: str) -> None:
    text = (ROOT / path.replace("gw/", f"{GATEWAY}/", 1)).read_text("utf-8")

    assert "pytestmark = BOTH_ROADS" in text
