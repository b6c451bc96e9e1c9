"""Versions and platforms: nothing else gets through."""

import re

import pytest
from analytics.domain.usage_report import MOST_VERSIONS, PLATFORMS, common_first, platform_of, version_of
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("Ubuntu 22.04.4 LTS", "22.04.4"),
        ("macOS 14.5", "14.5"),
        ("Microsoft Windows 11 Enterprise", "11"),
        ("5.17.0-12-gabcdef", "5.17.0"),
        ("CentOS Linux 7 (Core)", "7"),
        ("10.0.22631.3593", "10.0.22631"),
        ("", "other"),
        ("web-17", "other"),
        ("web17.example.com", "other"),
        ("٣.٤", "other"),
        ("unknown", "other"),
        ("1234567", "other"),
    ],
)
def test_a_version_is_the_first_number_with_dots(text, version):
    assert version_of(text) == version


@given(st.text())
def test_whatever_a_host_says_only_versions_and_known_platforms_come_out(text):
    assert re.fullmatch(r"[0-9.]+|other", version_of(text))
    assert platform_of(text) in PLATFORMS


@given(st.lists(st.tuples(st.text(alphabet="0123456789", max_size=3), st.integers(0, 100)), max_size=300))
def test_lists_are_short_and_lose_no_host(counts):
    ranked = common_first(counts)

    assert len(ranked) <= MOST_VERSIONS + 1
    assert sum(count for _, count in ranked) == sum(count for _, count in counts)
