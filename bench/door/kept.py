"""What hosts that reuse their TLS connection pay: thousands of mostly idle connections."""

from __future__ import annotations

from collections.abc import Iterator

from bench.door.place import Place, kept_tls
from bench.door.polls import against_nginx
from bench.load_client import Target
from bench.rounds import compare
from bench.rows import Row

CONNECTIONS = 6000
RATE = 10_000.0  # requests per second


def rows(place: Place) -> Iterator[Row]:
    """Measure polls over kept TLS connections, at a steady rate."""
    yardsticks: list[Target] = [] if place.nginx is None else [place.nginx]
    targets = (place.gateway.target, *yardsticks)
    found = compare(place.pace, *(kept_tls(target, CONNECTIONS, RATE) for target in targets))
    ours, theirs = found["gateway"], found.get("nginx")
    p99, rate = ours.median("p99_ms"), ours.median("rps")
    compared = f"at {rate:.0f}/s" + (f", nginx {theirs.median('p99_ms'):.2f} ms" if theirs else "")
    yield Row("poll, 6,000 kept TLS connections, 10k/s: p99", p99, "ms", 5, compared, details=ours.to_json())
    yield against_nginx("poll, 6,000 kept TLS connections, 10k/s", ours, theirs, 3)
