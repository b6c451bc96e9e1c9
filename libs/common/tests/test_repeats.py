"""Logs in an outage: what is said again and again is said a few times."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from flotilla_common.repeats import KINDS, SECONDS, WRITTEN, Repeats
from structlog import DropEvent

SCRIPT = """
import structlog
from flotilla_common.settings import CommonSettings
from flotilla_common.telemetry import set_up
set_up("test", CommonSettings.model_construct(log_level="info", otlp_endpoint=""))
log = structlog.get_logger()
for number in range(100):
    log.warning("a part is down, messages wait", durable="one", messages=number, error=f"ConnectionError({number})")
    log.info("campaign ended", campaign_id=number, error="none")
    log.warning("archived answers cannot be read", object=f"campaigns/{number}", error="damaged")
log.warning("a part is down, messages wait", durable="two", error="ConnectionError(7)")
"""


class Ticks:
    """A clock that is moved by hand, in seconds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def passes(repeats: Repeats, method: str = "warning", **event: object) -> dict[str, object] | None:
    try:
        return repeats(None, method, dict(event))
    except DropEvent:
        return None


def test_a_process_writes_a_few_of_each_kind_and_all_that_is_no_outage():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    lines = [json.loads(line) for line in done.stdout.splitlines()]

    assert [line["messages"] for line in lines if line.get("durable") == "one"] == list(range(WRITTEN))
    assert len([line for line in lines if line.get("durable") == "two"]) == 1
    assert len([line for line in lines if line["level"] == "info"]) == 100
    assert len({line["object"] for line in lines if "object" in line}) == 100


def test_the_first_one_later_tells_how_many_were_left_out():
    ticks = Ticks()
    repeats = Repeats(ticks)
    found = [passes(repeats, event="waits", error="Down()") for _ in range(WRITTEN + 7)]
    ticks.now = SECONDS
    later = [passes(repeats, event="waits", error="Down()") for _ in range(2)]

    assert [one is not None for one in found] == [True] * WRITTEN + [False] * 7
    assert later == [{"event": "waits", "error": "Down()", "left_out": 7}, {"event": "waits", "error": "Down()"}]


@pytest.mark.parametrize(
    ("method", "event"), [("error", {"error": "x"}), ("warning", {}), ("critical", {"error": "x"})]
)
def test_what_is_worse_or_no_error_is_always_written(method, event):
    repeats = Repeats(Ticks())

    assert all(passes(repeats, method, event="waits", **event) for _ in range(WRITTEN * 3))


def test_however_many_kinds_come_few_are_remembered():
    repeats = Repeats(Ticks())
    for number in range(KINDS * 3):
        assert passes(repeats, event="waits", error=f"{number}")

    assert len(repeats._periods) <= KINDS
