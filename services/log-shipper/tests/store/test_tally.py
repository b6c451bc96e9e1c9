"""What a batch adds to the books."""

from __future__ import annotations

from datetime import UTC, datetime

from log_shipper.store.ledger import Tally

HOUR = datetime(2026, 11, 24, 5, tzinfo=UTC)


def test_every_copy_that_a_replay_brings_is_one_too_many():
    tally = Tally()
    tally.add("result", HOUR, "filtered", 4)
    tally.add("result", HOUR, "delivered", 3)
    tally.add("result", HOUR, "duplicates", 2)  # two of them twice

    assert {name: count for name, count in tally.repeated().lines["result", HOUR].items() if count} == {"duplicates": 5}
