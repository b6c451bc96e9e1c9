"""Free TCP ports on 127.0.0.1."""

import socket

_given: set[int] = set()
"""Ports that this process has promised to somebody who may not listen yet."""


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
    """Return the preferred port if it is free, else one that the kernel chooses; never the same port twice."""
    if preferred and preferred not in _given and is_free(preferred):
        _given.add(preferred)
        return preferred
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port


def give_back(*ports: int) -> None:
    """Take back the promise: the next `choose_port` may give these ports again."""
    _given.difference_update(ports)
