"""Intervals as people write them."""

import json

import pytest
from config_merger.domain.intervals import intervals_of


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(10, 10), ("10", 10), (" 10 ", 10), (0, 0), (2**31, None), (-1, None), ("-1", None), ("often", None),
     ("\u0663", None), (1.5, None), (True, None), (None, None), ([], None), ("9" * 5000, None)],
)  # fmt: skip
def test_a_number_of_seconds_counts_as_number_or_text(value, seconds):
    config = json.dumps({"options": {"distributed_interval": value}}).encode()

    assert intervals_of(config).get("distributed_interval_seconds") == seconds


@pytest.mark.parametrize("config", [b"{}", b'{"options":null}', b'{"options":[]}', b'{"options":{}}'])
def test_a_config_without_options_sets_none(config):
    assert intervals_of(config) == {}


def test_each_interval_has_its_option():
    options = {"distributed_interval": 1, "config_refresh": 2, "logger_tls_period": 3}

    assert intervals_of(json.dumps({"options": options}).encode()) == {
        "distributed_interval_seconds": 1,
        "config_refresh_seconds": 2,
        "logger_tls_period_seconds": 3,
    }
