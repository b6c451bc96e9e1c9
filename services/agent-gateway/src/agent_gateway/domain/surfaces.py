"""Who is speaking, told from the path: osqueryd, orbit, or a person's desktop by the device API.

Each hears failures in its own words, and orbit and the desktop are told on every answer what this server can do.
"""

from __future__ import annotations

import re
from enum import Enum

Headers = list[tuple[bytes, bytes]]

CLOSE = (b"connection", b"close")
ORBIT_PREFIX = "/api/fleet/orbit"
DEVICE_PREFIX = "/api/fleet/device"
DEVICE_PREFIXES = tuple(f"/api/{version}/fleet/device" for version in ("v1", "2022-04", "latest"))
_DEVICE = re.compile(r"/api/(?:v1/|2022-04/|latest/)?fleet/device(?:/|$)")
_TOKEN = re.compile(r"(/device/)[^/]+")


class Surface(Enum):
    """One of the three APIs of the door. The value is its `X-Fleet-Capabilities`, None where there is no such header.

    Orbit replaces what it knows of the server by the list of every answer, and restarts when `orbit_endpoints` or
    `token_rotation` come or go (Fleet 4.70, orbit client): the lists are constants, and name what really exists.
    """

    OSQUERY = None
    ORBIT = b"orbit_endpoints,token_rotation"
    DEVICE = b""

    def headers(self, *, closes: bool) -> Headers:
        """Return what every answer has beside its own headers, those of failures too; `closes` ends the connection."""
        found: Headers = [CLOSE] if closes else []
        if self.value is not None:
            found.append((b"x-fleet-capabilities", self.value))
        return found


def surface_of(path: str) -> Surface:
    """Return whose path this is; osqueryd's, which knows least about failures, when it is nobody's."""
    if "/fleet/" not in path:
        return Surface.OSQUERY
    if path.startswith(ORBIT_PREFIX + "/"):
        return Surface.ORBIT
    return Surface.DEVICE if _DEVICE.match(path) else Surface.OSQUERY


def without_token(path: str) -> str:
    """Return a path that may be logged: a device token is a credential."""
    return _TOKEN.sub(r"\1***", path)
