"""Traps are walked into by the TLS port; the tests of `routes` come by the plain one."""

from __future__ import annotations

import pytest


@pytest.fixture
def scheme() -> str:
    return "https"
