"""A process that reads SQL for `sql_reader.py`: one JSON text a line in, one JSON object a line out.

It holds no credentials and opens nothing. A text that takes too long kills it, by timers of the kernel; one that wants
too much memory is unreadable, or kills it.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import sys
from dataclasses import asdict

from admin_api.domain.osquery_tables import tables
from admin_api.domain.sql_facts import SqlFacts, facts_of

READ_SECONDS = 1.0  # of processor time, for one text
STUCK_SECONDS = 15.0  # by the clock
MOST_MEMORY_BYTES = 192 * 1024 * 1024  # address space; at rest it has a quarter of that
READY = "ready"


def main() -> None:
    """Answer until the input ends."""
    with contextlib.suppress(ValueError, OSError):  # macOS knows no such limit; SQLite keeps its own all the same
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service; its end is the end of our input
    tables()
    facts_of("SELECT 1 FROM time")  # so that the first text pays for no imports
    _say(READY)
    for line in sys.stdin.buffer:
        _limit(READ_SECONDS, STUCK_SECONDS)
        try:
            facts = facts_of(json.loads(line))
        except MemoryError:
            facts = SqlFacts(unreadable="it takes too much memory to read")
        _limit(0, 0)
        _say(asdict(facts))


def _limit(processor_seconds: float, clock_seconds: float) -> None:
    """Set when SIGPROF and SIGALRM, which nobody handles, kill this process; 0: never."""
    signal.setitimer(signal.ITIMER_PROF, processor_seconds)
    signal.setitimer(signal.ITIMER_REAL, clock_seconds)


def _say(answer: object) -> None:
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
