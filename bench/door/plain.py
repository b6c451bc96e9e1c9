"""What a balancer that terminates TLS asks over its few busy connections."""

from __future__ import annotations

from collections.abc import Iterator

from bench.door.place import Place, kept_plain
from bench.door.polls import AUTHORIZED, FORWARDED, against_nginx
from bench.load_client import LoadFailed, Target
from bench.rounds import at_most, cheaper, compare
from bench.rows import Row

OPERATIONS = "flotilla_gateway_backend_operations_total"


def rows(place: Place) -> Iterator[Row]:
    """Measure polls over kept plain connections, also with both headers, which weigh most here.

    Raises:
        LoadFailed: the gateway asked others for an empty poll, or told them of one: it should need its memory alone.

    """
    gateway = place.gateway.target
    asked = place.gateway.metric(OPERATIONS)
    yardsticks: list[Target] = [] if place.nginx is None else [place.nginx]
    found = compare(
        place.pace.in_turns(),
        *(kept_plain(target) for target in (gateway, place.naive, *yardsticks)),
        kept_plain(gateway, *AUTHORIZED, name="authorized"),
        kept_plain(gateway, *FORWARDED, name="forwarded"),
    )
    ours = found["gateway"]
    if (more := place.gateway.metric(OPERATIONS) - asked) > 0:
        raise LoadFailed(f"empty polls of known hosts made the gateway ask others {more:.0f} times")
    yield against_nginx("poll, 64 kept plain connections", ours, found.get("nginx"), 6)
    yield cheaper("poll, 64 kept plain, FastAPI", ours, found["plain handlers"], 4, "FastAPI")
    yield at_most("poll, kept plain, Authorization: NodeKey per host", found["authorized"], ours, 1.15, "without")
    yield at_most("poll, kept plain, 20k X-Forwarded-For", found["forwarded"], ours, 1.15, "without")
