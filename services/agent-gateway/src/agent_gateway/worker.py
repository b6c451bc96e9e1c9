"""A worker's tie to its parent: a socket in the place of its standard input.

The worker says over it that its ports are open; the end of it means that the parent is gone, however it went.
"""

from __future__ import annotations

import os
import signal
import threading
import time

STDIN = 0
OPEN = b"o"
END_SECONDS = 20.0  # for a clean stop without a parent; after that the process is cut short


def end_with_parent() -> None:
    """Stop this process as SIGTERM does when its parent is gone; a thread waits for that, for as long as it takes."""
    threading.Thread(target=_wait_for_the_end_of_parent, name="parent", daemon=True).start()


def tell_open() -> None:
    """Tell the parent that the ports are open. Nobody is told when it is gone: the end is near then."""
    try:
        os.write(STDIN, OPEN)
    except BrokenPipeError:
        return


def _wait_for_the_end_of_parent() -> None:
    while _hears():
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_SECONDS)
    os._exit(1)  # whatever holds the loop up, no worker outlives its parent for long


def _hears() -> bool:
    try:
        return bool(os.read(STDIN, 1))
    except ConnectionResetError:
        return False
