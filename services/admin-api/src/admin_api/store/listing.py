"""List options applied to a `select`: search, order, cursor, page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, TypeVar, cast

from sqlalchemy import Boolean, ColumnElement, DateTime, Integer, Select, String, func, literal, or_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped

from admin_api.errors import InvalidArgument

T = TypeVar("T")
Sortable: TypeAlias = ColumnElement[Any] | Mapped[Any]

DEFAULT_PER_PAGE = 20
ALL = 1_000_000  # what a list without paging parameters returns at most


@dataclass(frozen=True)
class ListOptions:
    """What a caller of a list asked for; `page` and `per_page` None mean not given."""

    page: int | None = None
    per_page: int | None = None
    order_key: str = ""
    descending: bool = False
    after: str = ""
    query: str = ""

    @property
    def limit(self) -> int:
        """Rows on a page."""
        if self.per_page is not None:
            return self.per_page
        return DEFAULT_PER_PAGE if self.page is not None else ALL

    @property
    def offset(self) -> int:
        """Rows before the page; a cursor replaces paging."""
        return 0 if self.after else (self.page or 0) * self.limit


def listed(
    statement: Select[Any],
    options: ListOptions,
    *,
    order_keys: Mapping[str, Sortable],
    row_id: Sortable,
    search: Sequence[Sortable] = (),
) -> Select[Any]:
    """Return the statement for a page, with one row more than fits (see `page_of`).

    Raises:
        InvalidArgument: `order_key` is none of `order_keys`, or `after` does not fit its type.

    """
    statement = searched(statement, options.query, search)
    if options.order_key:
        statement = _ordered(statement, options, order_keys)
    return statement.order_by(row_id).limit(options.limit + 1).offset(options.offset)


def searched(statement: Select[Any], query: str, columns: Sequence[Sortable]) -> Select[Any]:
    """Keep rows where one of the columns contains the text; `%` and `_` are literal."""
    if not query or not columns:
        return statement
    return statement.where(or_(*(column.icontains(query, autoescape=True) for column in columns)))


async def page_of(
    session: AsyncSession,
    statement: Select[T],
    options: ListOptions,
    *,
    order_keys: Mapping[str, Sortable],
    row_id: Sortable,
    search: Sequence[Sortable] = (),
) -> tuple[Sequence[T], bool]:
    """Return a page of single-entity rows and whether there are more (see `listed`)."""
    wanted = listed(statement, options, order_keys=order_keys, row_id=row_id, search=search)
    rows = (await session.scalars(wanted)).all()
    return rows[: options.limit], len(rows) > options.limit


def _ordered(statement: Select[Any], options: ListOptions, order_keys: Mapping[str, Sortable]) -> Select[Any]:
    if options.order_key not in order_keys:
        raise InvalidArgument("order_key", f"unknown order_key: {options.order_key}")
    column = cast("ColumnElement[Any]", order_keys[options.order_key])
    is_text = isinstance(column.type, String)
    sort: ColumnElement[Any] = func.lower(column) if is_text else column
    if options.after:
        value = _cursor_value(column, options.after)
        bound = func.lower(value) if is_text else value
        statement = statement.where(sort < bound if options.descending else sort > bound)
    return statement.order_by(sort.desc() if options.descending else sort.asc())


def _cursor_value(column: ColumnElement[Any], after: str) -> object:
    try:
        if isinstance(column.type, Integer):
            return int(after)
        if isinstance(column.type, DateTime):
            return datetime.fromisoformat(after)
        if isinstance(column.type, Boolean):
            return literal({"true": True, "false": False}[after.lower()])
    except (ValueError, KeyError) as error:
        raise InvalidArgument("after", f"invalid cursor: {after}") from error
    return after
