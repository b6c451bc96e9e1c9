"""Long lists of ids as one array parameter: a statement takes 65,535 parameters at most."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, any_, cast
from sqlalchemy.dialects.postgresql import ARRAY


def is_any_of(column: Any, ids: Iterable[int]) -> ColumnElement[bool]:
    """Return the condition that a bigint column is one of the ids."""
    condition: ColumnElement[bool] = column == any_(id_array(ids))
    return condition


def id_array(ids: Iterable[int]) -> Any:
    """Return the ids as a bigint[] parameter."""
    return cast(list(ids), ARRAY(BigInteger))
