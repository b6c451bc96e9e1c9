"""`distributed/write` with ten rows for an open campaign: `{}` after the ack of stream ANSWERS."""

from __future__ import annotations

from collections.abc import Iterator

from bench.bodies import ROWS, write_body
from bench.door.place import ASKED, CAMPAIGN, POLLING, PREFIX, Place, kept_plain
from bench.load_client import KEPT_AGENT
from bench.rounds import Candidate, compare
from bench.rows import Row

WRITE_US = 45.0


def rows(place: Place) -> Iterator[Row]:
    """Measure answers of the hosts that are asked; a host's second answer is taken like its first."""
    gateway = place.gateway.target
    body = place.house.directory / "write.json"
    body.write_bytes(write_body(CAMPAIGN))
    words = ["--port", str(gateway.plain_port), "--connections", "64", "--user-agent", KEPT_AGENT]
    words += ["--path", f"{PREFIX}/distributed/write", "--body-file", str(body), "--expect", "{}"]
    words += ["--first-key", str(POLLING), "--keys", str(ASKED)]
    before = place.gateway.metric("flotilla_gateway_campaign_answers_total")
    found = compare(place.pace.in_turns(), Candidate("write", gateway, tuple(words)), kept_plain(gateway, name="poll"))
    write, poll = found["write"], found["poll"]
    taken = place.gateway.metric("flotilla_gateway_campaign_answers_total") - before
    ratio = f"{write.cpu_us / poll.cpu_us:.1f} x an empty poll so; {taken:.0f} answers taken"
    yield Row(
        f"distributed/write, {ROWS} rows, kept plain", write.cpu_us, "us", WRITE_US, ratio, details=write.to_json()
    )
