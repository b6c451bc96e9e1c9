"""What a stock host pays: a new TLS 1.3 connection for every request."""

from __future__ import annotations

from collections.abc import Iterator

from bench import nginx
from bench.bodies import NOTHING, READ, UNCHANGED
from bench.door.place import PREFIX, Place, stock
from bench.load_client import STOCK_AGENT, run_load
from bench.rounds import Candidate, Figures, at_most, cheaper, compare
from bench.rows import Row

POLL = f"{PREFIX}/distributed/read"
CONFIG = f"{PREFIX}/config"
AUTHORIZED = ("--header", "Authorization: NodeKey {key}")
FORWARDED = ("--header", "X-Forwarded-For: {address}", "--addresses", "20000")


def rows(place: Place) -> Iterator[Row]:
    """Measure polls and configs over new connections."""
    found = compare(place.pace.in_turns(), *candidates(place))
    read, unchanged, full = found["poll"], found["config, unchanged"], found["config, full"]
    yield against_nginx("poll, new TLS 1.3 connection (stretch 0.8)", read, found.get("nginx"), 0.95)
    yield cheaper("poll, new TLS 1.3 connection, FastAPI", read, found["poll, FastAPI"], 1.5, "FastAPI")
    yield against_nginx("unchanged config with etag, new TLS 1.3 connection", unchanged, found.get("nginx"), 0.95)
    yield cheaper(
        "unchanged config, new TLS 1.3 connection, FastAPI", unchanged, found["config, FastAPI"], 1.5, "FastAPI"
    )
    yield against_nginx("config of 20 KB, new TLS 1.3 connection", full, found.get("nginx, file"), 1.1, "nginx's file")
    yield at_most("poll as above, Authorization: NodeKey per host", found["poll, authorized"], read, 1.15, "without")
    yield at_most("poll as above, 20k X-Forwarded-For", found["poll, forwarded"], read, 1.15, "without")
    yield left_open(place)


def candidates(place: Place) -> list[Candidate]:
    """Return all that is measured in turn."""
    gateway, naive = place.gateway.target, place.naive
    etag = place.house.neighbours.etag
    unchanged = f'{{"node_key":"{{key}}","etag":"{etag}"}}'
    poll = stock(gateway, name="poll", path=POLL, body=READ, expect=NOTHING)
    found = [
        poll,
        stock(naive, name="poll, FastAPI", path=POLL, body=READ, expect=NOTHING),
        stock(gateway, name="config, unchanged", path=CONFIG, body=unchanged, expect=UNCHANGED),
        stock(naive, name="config, FastAPI", path=CONFIG, body=unchanged, expect=UNCHANGED),
        stock(gateway, name="config, full", path=CONFIG, body=READ, expect='{"options":'),
        Candidate("poll, authorized", gateway, (*poll.words, *AUTHORIZED)),
        Candidate("poll, forwarded", gateway, (*poll.words, *FORWARDED)),
    ]
    if place.nginx is not None:
        found.insert(1, stock(place.nginx, name="nginx", path=POLL, body=READ, expect=NOTHING))
        file = stock(place.nginx, name="nginx, file", path="/config", body=None, expect='{"options":', method="GET")
        found.append(file)
    return found


def against_nginx(measure: str, ours: Figures, theirs: Figures | None, limit: float, whose: str = "nginx") -> Row:
    """Return a row against nginx; without nginx it says what to do."""
    if theirs is None:
        return Row(measure, None, "x", limit, nginx.MISSING, details={"ours": ours.to_json()})
    return at_most(measure, ours, theirs, limit, whose)


def left_open(place: Place) -> Row:
    """Count the connections that clients which never close find open a second after their last request."""
    gateway = place.gateway.target
    words = stock(gateway, path=POLL, body=READ, expect=NOTHING).words
    taken = run_load(gateway, "--seconds", "1", "--warm-up", "0", *words, "--leave-open")
    return Row(
        "idle sockets left by stock clients",
        taken.raw["left_open"],
        "",
        0,
        f"of {taken.answered} connections, {STOCK_AGENT}",
    )
