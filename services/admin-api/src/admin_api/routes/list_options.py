"""Paging, order and search parameters of lists, parsed once (REST API reference of Fleet 4.70, list options)."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Query, Request
from pydantic import BaseModel

from admin_api.errors import BadRequest
from admin_api.store.listing import ListOptions

LARGEST_PAGE = 2**31  # page numbers beyond this cannot mean anything, and their offsets would not fit a bigint


class Meta(BaseModel):
    """Whether there are pages beside this one."""

    has_next_results: bool
    has_previous_results: bool


def meta_of(options: ListOptions, *, more: bool) -> Meta:
    """Return the `meta` object of a page."""
    return Meta(has_next_results=more, has_previous_results=bool(options.page))


def list_options(
    request: Request,
    page: Annotated[str, Query(description="from 0")] = "",
    per_page: Annotated[str, Query(description="rows on a page; without it and without page: everything")] = "",
    order_key: Annotated[str, Query(description="a field of the listed object")] = "",
    order_direction: Annotated[str, Query(description="asc or desc")] = "",
    after: Annotated[str, Query(description="cursor: rows beyond this value of order_key")] = "",
    query: Annotated[str, Query(description="text to look for")] = "",
) -> ListOptions:
    """Parse the parameters of the present request.

    Raises:
        BadRequest: one of them makes no sense.

    """
    del request
    key = re.sub(r"[^A-Za-z0-9_.,-]", "", order_key)
    if order_direction and not key:
        raise BadRequest("order_key must be specified with order_direction")
    if order_direction not in {"", "asc", "desc"}:
        raise BadRequest(f"unknown order_direction: {order_direction}")
    if after and not key:
        raise BadRequest("order_key must be specified with after")
    return ListOptions(
        page=_page(page),
        per_page=_per_page(per_page),
        order_key=key,
        descending=order_direction == "desc",
        after=after,
        query=unicodedata.normalize("NFC", query.strip()),
    )


def paged(options: ListOptions, usual: int, longest: int) -> ListOptions:
    """Return options of a list that is always paged: `usual` rows on a page where nobody says.

    Raises:
        BadRequest: more than `longest` rows are asked for at once.

    """
    per_page = usual if options.per_page is None else options.per_page
    if per_page > longest:
        raise BadRequest(f"invalid per_page value: at most {longest} fit on a page")
    return replace(options, page=options.page or 0, per_page=per_page)


ListOptionsDep = Annotated[ListOptions, Depends(list_options)]


def _page(text: str) -> int | None:
    if not text:
        return None
    number = _integer(text, "non-int page value")
    if number < 0:
        raise BadRequest("negative page value")
    if number > LARGEST_PAGE:
        raise BadRequest("invalid page value")
    return number


def _per_page(text: str) -> int | None:
    if not text:
        return None
    number = _integer(text, "non-int per_page value")
    if not 0 < number <= LARGEST_PAGE:
        raise BadRequest("invalid per_page value")
    return number


def _integer(text: str, complaint: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise BadRequest(complaint)
    return int(text)
