"""What hosts that reuse their connection pay, and a balancer's few connections."""

from __future__ import annotations

from collections.abc import Iterator

from bench.door.place import Place, kept_plain, kept_tls
from bench.door.polls import against_nginx, headers_kept
from bench.load_client import LoadFailed, Target
from bench.rounds import cheaper, compare
from bench.rows import Row

CONNECTIONS = 6000
RATE = 10_000.0  # requests per second
OPERATIONS = "flotilla_gateway_backend_operations_total"


def rows(place: Place) -> Iterator[Row]:
    """Measure polls over kept connections."""
    gateway = place.gateway.target
    asked = place.gateway.metric(OPERATIONS)
    yardsticks: list[Target] = [] if place.nginx is None else [place.nginx]
    tls = compare(place.pace, *(kept_tls(target, CONNECTIONS, RATE) for target in (gateway, *yardsticks)))
    ours, theirs = tls["gateway"], tls.get("nginx")
    p99, rate = ours.median("p99_ms"), ours.median("rps")
    compared = f"at {rate:.0f}/s" + (f", nginx {theirs.median('p99_ms'):.2f} ms" if theirs else "")
    yield Row("poll, 6,000 kept TLS connections, 10k/s: p99", p99, "ms", 5, compared, details=ours.to_json())
    yield against_nginx("poll, 6,000 kept TLS connections, 10k/s", ours, theirs, 3)
    plain = compare(place.pace, *(kept_plain(target) for target in (gateway, place.naive, *yardsticks)))
    yield against_nginx("poll, 64 kept plain connections", plain["gateway"], plain.get("nginx"), 6)
    yield cheaper("poll, 64 kept plain, FastAPI", plain["gateway"], plain["plain handlers"], 4, "FastAPI")
    yield from headers_kept(place, plain["gateway"])
    if (more := place.gateway.metric(OPERATIONS) - asked) > 0:
        raise LoadFailed(f"empty polls of known hosts made the gateway ask others {more:.0f} times")
