"""What the plain port's shortcut keeps between answers."""

from __future__ import annotations

from agent_gateway.domain.surfaces import Headers
from agent_gateway.shortcut import DefaultLines


def test_lines_are_those_of_the_headers_as_they_are_now() -> None:
    lines = DefaultLines()
    first: Headers = [(b"date", b"now"), (b"server", b"here")]
    then: Headers = [(b"date", b"then")]

    assert [lines.lines_of(one) for one in (first, first, then, [], first)] == [
        b"date: now\r\nserver: here\r\n",
        b"date: now\r\nserver: here\r\n",
        b"date: then\r\n",
        b"",
        b"date: now\r\nserver: here\r\n",
    ]


def test_and_are_not_joined_for_each_answer() -> None:
    lines, headers = DefaultLines(), [(b"date", b"now")]

    assert lines.lines_of(headers) is lines.lines_of(headers)
