"""What known hosts ask all day: each path with its body's cap and how it is answered. Both roads read this table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property

from agent_gateway.domain.bodies import DISTRIBUTED_WRITE_LIMIT, LOG_LIMIT, READ_LIMIT
from agent_gateway.domain.config import answer_config, config_from_memory
from agent_gateway.domain.distributed_read import answer_read, read_from_memory
from agent_gateway.domain.distributed_write import answer_write, begin_write
from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.log import answer_log, begin_log
from agent_gateway.domain.orbit_config import answer_orbit_config, orbit_config_from_memory
from agent_gateway.domain.posts import Begun, Told
from agent_gateway.domain.request_classes import RequestClass
from agent_gateway.domain.surfaces import ORBIT_PREFIX, Headers, Surface, surface_of

PREFIXES = ("/api/osquery", "/api/v1/osquery")

Answer = Callable[[Gateway, bytes, str | None], Awaitable[bytes]]
FromMemory = Callable[[Gateway, bytes, str | None], bytes | None]
Begin = Callable[[Gateway, bytes, str | None, Told], Begun | None]


@dataclass(frozen=True)
class Road:
    """One path. `endpoint` is its name in the counters."""

    endpoint: str
    request_class: RequestClass
    limit: int
    answer: Answer
    from_memory: FromMemory | None = None
    """The usual answer, at once; None means that the request must go the whole way, and nothing has been done."""
    begin: Begin | None = None
    """Take a usual post at once; None means that it must go the whole way, and nothing has been done.

    Raises:
        FleetError: the answer to it.

    """
    surface: Surface = Surface.OSQUERY
    """In whose words its failures are said."""

    @cached_property
    def headers(self) -> Headers:
        """What every answer has beside its own headers."""
        return self.surface.headers(closes=False)

    @cached_property
    def headers_and_close(self) -> Headers:
        """The same for a client that never reuses its connection."""
        return self.surface.headers(closes=True)


CONFIG = Road("config", "config", READ_LIMIT, answer_config, config_from_memory)
DISTRIBUTED_READ = Road("distributed_read", "read", READ_LIMIT, answer_read, read_from_memory)
DISTRIBUTED_WRITE = Road("distributed_write", "write", DISTRIBUTED_WRITE_LIMIT, answer_write, begin=begin_write)
LOG = Road("log", "log", LOG_LIMIT, answer_log, begin=begin_log)

ORBIT_CONFIG = Road(
    "orbit_config", "orbit", READ_LIMIT, answer_orbit_config, orbit_config_from_memory, surface=Surface.ORBIT
)

ROADS = {"/config": CONFIG, "/distributed/read": DISTRIBUTED_READ, "/distributed/write": DISTRIBUTED_WRITE, "/log": LOG}

ALL_ROADS = {prefix + path: road for prefix in PREFIXES for path, road in ROADS.items()}
ALL_ROADS[f"{ORBIT_PREFIX}/config"] = ORBIT_CONFIG
OTHERS: dict[Surface, RequestClass] = {Surface.OSQUERY: "read", Surface.ORBIT: "orbit", Surface.DEVICE: "device"}


def class_of(path: str) -> RequestClass:
    """Return the class of the requests to a path; `read` of one that nobody knows."""
    road = ALL_ROADS.get(path)
    if road is not None:
        return road.request_class
    if path.endswith("/enroll"):
        return "enroll"
    if "/carve/" in path:
        return "carve"
    return OTHERS[surface_of(path)]
