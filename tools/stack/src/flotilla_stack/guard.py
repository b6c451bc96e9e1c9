"""Kill what the supervisor leaves behind when it is killed itself.

Run as a script by the supervisor, in a session of its own, with a pipe as standard input. Each line is `+GROUP` (a
process group was started) or `-GROUP` (it is gone). When the pipe ends, so has the supervisor, and every group that is
left gets SIGKILL. The parent-death signal of `launch.py` reaches only the direct child; this reaches its workers too.
Standard library only: it runs without site-packages.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterable


def remember(lines: Iterable[str]) -> set[int]:
    """Follow the lines until they end and return the groups that are left."""
    groups: set[int] = set()
    for line in lines:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    return groups


def main() -> None:
    """Wait for the end of the supervisor, then kill."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    for group in remember(sys.stdin):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
