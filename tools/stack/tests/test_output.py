"""Logs: what reaches the console, and that the files stay bounded."""

import io
from pathlib import Path

import pytest
from flotilla_stack.output import Console, LogFile, digest


@pytest.mark.parametrize(
    ("line", "matters"),
    [
        ('{"level": "info", "event": "started"}', False),
        ('{"level": "warning", "event": "slow", "seconds": 3}', True),
        ("LOG:  database system is ready to accept connections", False),
        ("FATAL:  password authentication failed", True),
        ("[12] 2026/01/01 [INF] Server is ready", False),
        ("[12] 2026/01/01 [ERR] no space", True),
        ("Traceback (most recent call last):", True),
    ],
)
def test_only_lines_that_matter_reach_the_console(line: str, matters: bool) -> None:
    assert digest(line)[1] is matters


def test_a_json_line_is_shown_as_words() -> None:
    text, _ = digest('{"level": "warning", "event": "slow", "seconds": 3, "timestamp": "now"}')

    assert text == "warning slow seconds=3"


def test_a_traceback_is_shown_by_what_it_ends_with() -> None:
    trace = 'Traceback (most recent call last):\\n  File "a.py", line 1, in f\\n    g()\\nValueError: no luck'
    text, _ = digest(f'{{"level": "error", "event": "broke", "exception": "{trace.replace(chr(34), chr(39))}"}}')

    assert text == "error   broke exception=ValueError: no luck"


def test_there_is_no_colour_without_a_terminal() -> None:
    stream = io.StringIO()
    Console(stream).line("inventory", "Traceback")

    assert stream.getvalue() == "inventory | Traceback\n"


def test_a_quiet_part_is_silent_unless_everything_is_wanted() -> None:
    shown, hidden = io.StringIO(), io.StringIO()
    Console(shown, verbose=True).line("simulator", "20 hosts", is_quiet=True)
    Console(hidden).line("simulator", "20 hosts", is_quiet=True)

    assert (shown.getvalue(), hidden.getvalue()) == ("simulator | 20 hosts\n", "")


def test_a_log_file_never_grows_beyond_twice_its_bound(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", max_bytes=1000)
    for number in range(500):
        log.write(f"line {number}".encode())
    log.close()

    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 2000
    assert log.tail(1) == "line 499"
