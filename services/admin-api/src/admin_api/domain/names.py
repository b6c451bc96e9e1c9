"""Names that people give: one form in which they are compared and stored, and how long they may be."""

from __future__ import annotations

import unicodedata

from admin_api.errors import InvalidArgument

LONGEST = 255  # characters; an index entry, which is unique, has to fit a page


def normal(name: str) -> str:
    """Return a name in its one form: Unicode NFC, without blanks around it."""
    return unicodedata.normalize("NFC", name).strip()


def check_length(argument: str, name: str) -> None:
    """Refuse what cannot be indexed.

    Raises:
        InvalidArgument: it is too long.

    """
    if len(name) > LONGEST:
        raise InvalidArgument(argument, f"may not be longer than {LONGEST} characters")
