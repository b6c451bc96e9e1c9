"""What the benchmark says must be true of what it sends, and of what it calls met."""

from __future__ import annotations

import argparse
import json

import pytest
from agent_gateway.domain.distributed_write import parse_write
from agent_gateway.domain.results import campaign_of
from flotilla_common.contracts.node_keys import hash_node_key, new_node_key

from bench import bodies, fleet
from bench.live import crowd, pressure, viewing
from bench.memory import tree_of
from bench.rounds import Figures, at_most, cheaper
from bench.rows import Row
from bench.run import GROUPS, LIVE, LONG, PARTS, SHIPPING, WHAT, arguments, parts_of


def test_a_limit_is_kept_from_the_side_that_the_row_says():
    assert Row("time", 4.9, "ms", 5).is_met
    assert not Row("time", 5.1, "ms", 5).is_met
    assert Row("rate", 5.1, "/s", 5, at_least=True).is_met
    assert not Row("rate", 4.9, "/s", 5, at_least=True).is_met


def test_what_was_not_measured_is_not_met_and_says_why():
    row = Row("against nginx", None, "x", 0.95, "nginx is missing: apt-get install nginx-light")

    assert not row.is_met
    assert row.to_text().endswith("apt-get install nginx-light  NOT MEASURED")
    assert row.to_json()["figure"] is None


class Run:
    """As much of a run as a ratio needs."""

    rps = p50_ms = p99_ms = 1.0

    def __init__(self, cpu_us: float) -> None:
        self.cpu_us = cpu_us


def test_ratios_are_medians_over_rounds():
    """A slow phase that hits both, as the second round's, changes nothing; nor does a single run that is odd."""
    ours, theirs = Figures([Run(10), Run(1000), Run(20)]), Figures([Run(20), Run(2000), Run(1)])

    assert at_most("m", ours, theirs, 1, "theirs").figure == 0.5
    assert cheaper("m", ours, theirs, 2, "theirs").is_met


def test_the_config_has_twenty_kilobytes_and_is_one():
    config = bodies.config_of()

    assert len(config) == 20 * 1024
    assert len(json.loads(config)["schedule"]) > 50


def test_a_log_post_has_100_lines_of_544_bytes():
    post = json.loads(bodies.log_body())

    assert post["log_type"] == "result"
    assert [len(bodies.encoded(line)) for line in post["data"]] == [544] * 100


def test_a_write_is_an_answer_to_its_campaign():
    request = parse_write(bodies.write_body(7))

    assert [campaign_of(name) for name in request.queries or {}] == [(7, 1)]
    assert len(json.loads(bodies.write_body(7))["queries"].popitem()[1]) == 10


def test_hosts_of_the_fleet_have_keys_as_long_as_real_ones():
    assert len(fleet.node_key(123)) == len(new_node_key())
    assert fleet.record(123).node_key_hash == hash_node_key("benchhost00000000000000000000123").hex()


def test_a_group_of_parts_is_all_its_parts():
    assert parts_of("stack,door,live") == PARTS
    assert parts_of("pressure") == ("pressure",)
    with pytest.raises(argparse.ArgumentTypeError, match="not one of"):
        parts_of("dor")


def test_parts_that_take_minutes_run_only_when_they_are_named():
    assert set(LONG) & set(PARTS) == set()
    assert set(LONG) <= {*LIVE, *SHIPPING}


def test_each_row_of_the_pressed_hosts_is_their_own():
    body = json.loads(pressure.body_of(7).replace(b"{key}", fleet.node_key(3).encode()))
    [(name, found)] = body["queries"].items()

    assert campaign_of(name) == (7, 1)
    assert len(found) == pressure.ROWS
    assert {row["cwd"] for row in found} == {f"/home/{fleet.node_key(3)}"}
    assert pressure.ANSWERING * len(json.dumps(found)) > pressure.REDIS_BYTES


def test_a_viewer_that_lacks_rows_or_has_them_twice_is_found_out():
    viewer = viewing.Viewer(None, 1, pressure.ANSWERING)
    viewer.rows.update({fleet.host_id(number): pressure.ROWS for number in range(pressure.ANSWERING)})
    whole = pressure.astray(viewer)
    viewer.rows[fleet.host_id(5)] += pressure.ROWS
    del viewer.rows[fleet.host_id(6)]

    assert (whole, pressure.astray(viewer)) == (0, 2 * pressure.ROWS)


def test_the_95th_percentile_leaves_one_in_twenty_above():
    assert crowd.percentile([*range(1, 101)]) == 96
    assert crowd.percentile([7]) == 7


def test_a_tree_of_processes_begins_with_its_root():
    assert tree_of(1)[0] == 1


def test_help_tells_the_parts_the_defaults_and_where_results_go(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bench", "--help"])
    with pytest.raises(SystemExit):
        arguments()
    text = capsys.readouterr().out

    assert {*PARTS, *LONG} == set(WHAT)
    assert all(f"    {part:<11}{what}" in text for part, what in WHAT.items())
    assert all(f"\n  {group}" in text for group in GROUPS)
    assert text.index("run only when they are named") < text.index("    viewer ")
    assert ("(default: 2)" in text, "(default: 4)" in text) == (True, True)
    assert ("twelve minutes" in text, "bench/results/" in text, "bench/README.md" in text) == (True, True, True)
