"""Columns of JSON, in any table."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm.attributes import flag_modified
from sqlmodel import SQLModel


def put(row: SQLModel, column: str, value: Any) -> None:
    """Set a column so that it is written whatever it held.

    SQLAlchemy leaves out what is equal, and to Python true equals 1, and JSON null reads like the null of SQL.
    """
    setattr(row, column, value)
    flag_modified(row, column)
