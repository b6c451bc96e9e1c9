"""Finding rows by the names that people gave them."""

from __future__ import annotations

import unicodedata

from sqlalchemy import ColumnElement, func
from sqlalchemy.orm import Mapped


def is_named(column: ColumnElement[str] | Mapped[str], name: str) -> ColumnElement[bool]:
    """Whether a column, whose names are stored in Unicode NFC, holds this one, whatever the case of its letters.

    Postgres lowers both: it and Python disagree on some letters, and the unique indexes are Postgres's.
    """
    return func.lower(column) == func.lower(unicodedata.normalize("NFC", name))
