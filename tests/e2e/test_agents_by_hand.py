"""The lines of docs/agents.md and the example of docs/enrollment.md, typed in their order into a shell."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from flotilla_stack.testing import RunningStack

from .people import Person

DOCS = Path(__file__).resolve().parents[2] / "docs"
ADDRESS = "https://localhost:8443"
SHELL_SECONDS = 120
PATTERNS = (
    r'{"node_key":"[^"]{32}"}',
    r'{.*"options":{.*}',
    r'{"etag":"ok"}',
    r"{}",
    r'{"queries":{"fleet_distributed_query_.+":"SELECT .+"},"discovery":{.+},"accelerate":10}',
    r"{}",
    r'{"session_id":"[^"]+","success":true}',
    r'{"success":true}',
    r'{"success":true}',
    r'{"error":"invalid_node_key","node_invalid":true}',
    r'{"error":"malformed_body","reason":"not valid JSON"}',
    r'{"error":"bad_enroll_secret","node_invalid":true}',
    r'{"error":"not_found"}',
)
"""What the lines of docs/agents.md print, but for the answer to the person who asks."""


def lines_of(page: str) -> str:
    """Return what a page tells to type: its indented blocks, but those that show answers."""
    blocks = re.findall(r"(?:^    .*\n)+", (DOCS / page).read_text("utf-8"), re.MULTILINE)
    return "\n".join(
        re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in blocks if not block.startswith("    {")
    )


@pytest.fixture
def folder(stack: RunningStack, tmp_path: Path) -> Path:
    """The folder in which somebody typed `make run`."""
    (tmp_path / ".flotilla").symlink_to(stack.home)
    return tmp_path


def typed(lines: str, folder: Path, url: str) -> str:
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", lines.replace(ADDRESS, url)],
        cwd=folder,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=SHELL_SECONDS,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def test_the_door_can_be_spoken_to_by_hand_as_the_page_says(stack: RunningStack, folder: Path) -> None:
    printed = typed(lines_of("agents.md"), folder, stack.dev()["url"])
    answers = [line for line in printed.splitlines() if line.startswith("{") and line != "{"]

    assert len(answers) == len(PATTERNS), answers
    for answer, pattern in zip(answers, PATTERNS, strict=True):
        assert re.fullmatch(pattern, answer), (answer, pattern)
    assert sorted(path.name for path in folder.iterdir()) == [".flotilla"]


async def test_the_example_of_a_limited_secret_keeps_the_others(
    stack: RunningStack, admin: Person, folder: Path
) -> None:
    before = (await admin.call("GET", "/spec/enroll_secret"))["spec"]["secrets"]
    typed(lines_of("enrollment.md"), folder, stack.dev()["url"])
    after = (await admin.call("GET", "/spec/enroll_secret"))["spec"]["secrets"]
    await admin.call("POST", "/spec/enroll_secret", {"spec": {"secrets": before}})

    assert after[: len(before)] == before
    assert [entry["secret"] for entry in after[len(before) :]] == ["a-long-random-text"], json.dumps(after)
    assert after[-1]["max_uses"] == 10
