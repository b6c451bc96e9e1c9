"""Kinds of error -> HTTP statuses. One table, for people and hosts alike."""

from __future__ import annotations

from flotilla_common.errors import Conflict, Denied, FleetError, Invalid, NotFound, Unavailable

STATUS: dict[type[FleetError], int] = {Denied: 403, NotFound: 404, Conflict: 409, Invalid: 422, Unavailable: 503}


def status_of(error: FleetError) -> int:
    """Return the status of an error's kind, 500 for the ones without."""
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)
