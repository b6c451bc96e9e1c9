"""Times in requests are RFC 3339."""

from __future__ import annotations

import pytest
from admin_api.errors import BadRequest
from admin_api.routes.times import time_of


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-12-01T10:00:00Z", "2026-12-01T10:00:00+00:00"),
        ("2026-12-01t10:00:00z", "2026-12-01T10:00:00+00:00"),
        ("2026-12-01 10:00:00-08:30", "2026-12-01T10:00:00-08:30"),
        ("2026-12-01T10:00:00.5+01:00", "2026-12-01T10:00:00.500000+01:00"),
        ("2026-12-01T10:00:00.123456789Z", "2026-12-01T10:00:00.123456+00:00"),
    ],
)
def test_every_form_of_the_rfc_is_read(text, meant):
    assert time_of(text, "deadline").isoformat() == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2026-W49-1T10:00:00Z",
        "20261201T100000+01",
        "2026-12-01T10:00:00+01",
        "2026-12-01T10:00:00+0100",
        "2026-12-01T10:00Z",
        "2026-12-01",
        "2026-12-01T10:00:00,5Z",
        "2026-12-01T10:00:00.Z",
        "2026-13-01T10:00:00Z",
        "2026-02-30T10:00:00Z",
        "2026-12-01T25:00:00Z",
        "2026-12-01T10:00:60Z",
        "2026-12-01T10:00:00+25:00",
        "2026-12-01T10:00:00Z\n",
        " 2026-12-01T10:00:00Z",
        "２０２６-12-01T10:00:00Z",
    ],
)
def test_nothing_else_is(text):
    with pytest.raises(BadRequest, match="deadline must be an RFC 3339 time"):
        time_of(text, "deadline")


def test_without_a_zone_it_says_so():
    with pytest.raises(BadRequest, match="deadline must have a time zone"):
        time_of("2026-12-01T10:00:00", "deadline")
