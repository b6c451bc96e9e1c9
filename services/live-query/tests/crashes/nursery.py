"""Starts live-query processes fast: a script that has imported everything and forks at each line of its input.

A line is the JSON of {"environment": {...}, "plan": ..., "points": FILE, "log": FILE}; it answers {"started": pid}, and
{"ended": pid, "code": n} when that process is over. At the end of its input it kills those that run.
With `--hurry` what a real process waits for by the clock comes sooner: a crash is paid with seconds otherwise.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import select
import signal
import sys
from dataclasses import replace
from datetime import timedelta
from typing import Any

import flotilla_common.bus.consumer
import flotilla_common.db.leases
import flotilla_common.db.relay
import live_query.__main__
import live_query.app
import live_query.consumers.archiving
import live_query.consumers.done_sets
import live_query.consumers.housekeeping
import live_query.consumers.on_campaign_viewed
import live_query.consumers.ramps
import live_query.domain.campaigns
import live_query.store.commands
import pyarrow.parquet  # noqa: F401 - what archives: imported once, not by each process
from points import Plan, Points

GRACE = timedelta(seconds=1.5)
LARGE = 48  # bytes of a bitmap; those of more than about 15 hosts are large here
SEGMENT = 100_000  # bytes
SOONER: tuple[tuple[Any, dict[str, Any]], ...] = (
    (flotilla_common.bus.consumer, {"OUTAGE_DELAY_SECONDS": 0.2, "RETRY_DELAY_SECONDS": 0.1}),
    (flotilla_common.db.relay, {"RETRY_SECONDS": 0.05}),
    (flotilla_common.db.leases, {"RETRY_SECONDS": 0.05}),
    (
        live_query.consumers.housekeeping,
        {
            "LOOK_SECONDS": 0.15,
            "REPAIR_SECONDS": 0.5,
            "FORGET_SECONDS": 0.5,
            "RETRY_SECONDS": 0.1,
            "VIEWER_GRACE": GRACE,
        },
    ),
    (live_query.consumers.done_sets, {"EVERY_SECONDS": 0.1, "LARGE_EVERY_SECONDS": 0.2}),
    (live_query.consumers.ramps, {"EVERY_SECONDS": 0.1, "INLINE_BYTES": LARGE}),
    (
        live_query.consumers.archiving,
        {
            "LOOK_SECONDS": 0.2,
            "SOONEST_SECONDS": 0.1,
            "REPAIR_SECONDS": 0.3,
            "SWEEP_SECONDS": 0.3,
            "SEGMENT_BYTES": SEGMENT,
        },
    ),
    (live_query.consumers.on_campaign_viewed, {"VIEWER_GRACE": GRACE}),
    (live_query.domain.campaigns, {"VIEWER_GRACE": GRACE, "INLINE_BYTES": LARGE}),
    (live_query.store.commands, {"INLINE_BYTES": LARGE}),
)


def hurry() -> None:
    """Shorten what is waited for."""
    for module, values in SOONER:
        for name, value in values.items():
            getattr(module, name)
            setattr(module, name, value)
    subscriptions = live_query.app.SUBSCRIPTIONS
    live_query.app.SUBSCRIPTIONS = tuple(replace(one, ack_wait_seconds=0.7) for one in subscriptions)


def live(wish: dict[str, Any]) -> None:
    """Be a live-query process. Does not return."""
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    output = os.open(wish["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(wish["environment"])
    if wish["plan"] is not None:
        log = os.open(wish["points"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        Points(Plan.parse(wish["plan"]), log).watch()
    # What a transport of asyncio's own still holds can be written out before the end; uvloop's cannot.
    live_query.__main__.uvloop.EventLoopPolicy = asyncio.DefaultEventLoopPolicy
    code = 1
    try:
        live_query.__main__.main()
        code = 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def main() -> None:
    if "--hurry" in sys.argv:
        hurry()
    gc.collect()
    gc.freeze()  # a collection in a child would copy all pages
    running: set[int] = set()
    heard, told = os.pipe()
    for end in (heard, told):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(told)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([sys.stdin, heard], [], [])
        if heard in ready:
            os.read(heard, 4096)
            report(running)
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                break
            running.add(start(json.loads(line)))
    for pid in running:
        os.kill(pid, signal.SIGKILL)


def start(wish: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        live(wish)
    say({"started": pid})
    return pid


def report(running: set[int]) -> None:
    for pid in tuple(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            running.discard(pid)
            say({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def say(what: dict[str, int]) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 - this is how it answers


if __name__ == "__main__":
    main()
