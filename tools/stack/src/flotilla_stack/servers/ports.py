"""Free TCP ports on 127.0.0.1.

A port that is chosen now is listened on later. Meanwhile, and while its server is down, two things could take it:
another stack or test run on this machine, and the kernel, for the near end of somebody's outgoing connection. So a
process reserves what it chose with an abstract Unix socket of that number (Linux; it goes with the process, and belongs
to a network namespace as ports do), and never chooses from the range that the kernel takes from.
"""

import atexit
import random
import socket
import sys

CHOICE = range(10_000, 32_000)
"""Below the range of outgoing connections on Linux (32768-60999) and macOS (49152-65535)."""

_given: set[int] = set()
"""Ports that this process has promised to somebody who may not listen yet."""
_reserved: dict[int, socket.socket] = {}
"""What keeps other processes like this one from choosing the same, until this one ends."""


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port now; connections in TIME_WAIT do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_port(preferred: int | None = None) -> int:
    """Return the preferred port if it is free, else some free one; never the same port twice.

    Raises:
        OSError: no port is free.

    """
    candidates = random.sample(CHOICE, len(CHOICE))
    for port in [preferred, *candidates] if preferred else candidates:
        if port not in _given and is_free(port) and _reserve(port):
            _given.add(port)
            return port
    raise OSError(f"no TCP port between {CHOICE.start} and {CHOICE.stop - 1} is free")


def choose_row(count: int, preferred: int | None = None) -> list[int]:
    """Return so many ports with one number after the other, from the preferred one on if all of those are free.

    Raises:
        OSError: no such row of ports is free.

    """
    candidates = random.sample(range(CHOICE.start, CHOICE.stop - count), len(CHOICE) - count)
    for first in [preferred, *candidates] if preferred else candidates:
        row = list(range(first, first + count))
        if all(port not in _given and is_free(port) for port in row) and all(map(_reserve, row)):
            _given.update(row)
            return row
    raise OSError(f"no {count} TCP ports in a row between {CHOICE.start} and {CHOICE.stop - 1} are free")


def give_back(*ports: int) -> None:
    """Take back the promise: the next `choose_port` of this process may give these ports again."""
    _given.difference_update(ports)


@atexit.register
def _let_go() -> None:
    """Close the reservations, as the kernel would, before Python complains that nobody did."""
    for reservation in _reserved.values():
        reservation.close()


def _reserve(port: int) -> bool:
    if port in _reserved or not sys.platform.startswith("linux"):
        return True
    reservation = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        reservation.bind(f"\0flotilla-port-{port}")
    except OSError:
        reservation.close()
        return False
    _reserved[port] = reservation
    return True
