"""The revisions that this release knows, by the names of their files: a service need not load Alembic to start."""

from __future__ import annotations

from functools import cache
from pathlib import Path

VERSIONS = Path(__file__).parent / "migrations" / "versions"


@cache
def head() -> str:
    """Return the newest revision; a file is named for its revision, which begins with its number."""
    return max((path.stem for path in VERSIONS.glob("[0-9]*.py")), key=number_of)


def number_of(revision: str | None) -> int:
    """Return the number a revision begins with; 0 for what is no revision, older than all."""
    digits = (revision or "").partition("_")[0]
    return int(digits) if digits.isascii() and digits.isdigit() else 0
