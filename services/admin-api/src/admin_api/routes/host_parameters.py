"""Query parameters and bodies that several routes about hosts share."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query, Request
from pydantic import ConfigDict, Field

from admin_api.domain import host_filters
from admin_api.domain.host_filters import HostView
from admin_api.errors import BadRequest
from admin_api.routes.bodies import ApiBody
from admin_api.routes.list_options import ListOptionsDep
from admin_api.store.hosts import HostFilter
from admin_api.store.listing import ListOptions

Number = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""An id in a body."""


def _wanted(
    request: Request,
    options: ListOptionsDep,
    status: Annotated[str, Query(description="new, online, offline, mia or missing")] = "",
    team_id: Annotated[str, Query(description="0: hosts without a team")] = "",
) -> HostFilter:
    del status, team_id  # named for the documentation; all filters are read in one place
    return host_filters.parse(request.query_params, query=options.query)


def _wanted_with_label(
    wanted: Annotated[HostFilter, Depends(_wanted)],
    request: Request,
    label_id: Annotated[str, Query(description="only hosts in this label")] = "",
) -> HostFilter:
    label = host_filters.parse_id("label_id", label_id) if label_id else None
    return host_filters.parse(request.query_params, query=wanted.query, label_id=label)


def _view(request: Request) -> HostView:
    return host_filters.parse_view(request.query_params)


FilterDep = Annotated[HostFilter, Depends(_wanted)]
FilterWithLabelDep = Annotated[HostFilter, Depends(_wanted_with_label)]
ViewDep = Annotated[HostView, Depends(_view)]


class HostsFilters(ApiBody):
    """The `filters` object of bulk actions; other keys are refused (9.5)."""

    model_config = ConfigDict(strict=True, extra="ignore")

    query: str | None = None
    status: str | None = None
    label_id: Number | None = None
    team_id: Number | None = None


def filter_of(filters: dict[str, Any]) -> HostFilter:
    """Return the filter that a `filters` object describes.

    Raises:
        BadRequest: it has another key, or a value of a wrong type.

    """
    for key, value in filters.items():
        if key.lower() not in HostsFilters.model_fields:
            raise BadRequest(f"unknown filter key: {key[:100]}")
        if value is None:  # else a client's missing label would mean every host
            raise BadRequest(f"{key} must not be null")
    try:
        given = HostsFilters.model_validate(filters)
    except ValueError as error:
        raise BadRequest("a filter has a value of a wrong type") from error
    if given.query is not None and not given.query.strip():
        raise BadRequest("query must not be empty")
    if given.status == "":
        raise BadRequest("status must not be empty")
    parsed = host_filters.parse(
        {"status": given.status or ""}, query=(given.query or "").strip(), label_id=given.label_id
    )
    return HostFilter(parsed.status, given.team_id, parsed.label_id, parsed.query)


def without_search(options: ListOptions) -> ListOptions:
    """Return the options without the search text, which is part of the filter already."""
    return ListOptions(options.page, options.per_page, options.order_key, options.descending, options.after)
