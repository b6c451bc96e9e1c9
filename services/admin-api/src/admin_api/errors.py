"""What can go wrong for people, without HTTP. `routes/envelope.py` knows the statuses and texts of each."""

from __future__ import annotations

from flotilla_common.errors import Conflict, Denied, FleetError, Invalid, NotFound


class Unauthenticated(Denied):
    """No token, an unknown one, or one that may not be used yet; clients match the text."""


class Forbidden(Denied):
    """The caller's roles do not allow this."""

    def __init__(self) -> None:
        super().__init__("forbidden")


class SqlDenied(Denied):
    """The live query policy keeps the caller's role from what this SQL asks; the text says from what."""


class PermissionDenied(Denied):
    """The caller may do this in principle, but showed a wrong current password."""

    def __init__(self) -> None:
        super().__init__("Permission Denied")


class LiveQueriesOff(Denied):
    """Live queries are turned off for everybody."""

    def __init__(self) -> None:
        super().__init__("live queries are disabled by administrator (server_settings.live_query_disabled)")


class InvalidArgument(Invalid):
    """One or more arguments are wrong; `arguments` has (name, reason) for each."""

    def __init__(self, name: str, reason: str, *more: tuple[str, str]) -> None:
        super().__init__(f"{name}: {reason}")
        self.arguments = ((name, reason), *more)


class BadRequest(Invalid):
    """The request cannot be understood, or a query parameter is wrong."""


class UndecodableBody(Invalid):
    """The body is missing, is no JSON, or has a value of a wrong type where the types are not reported."""


class StrictBodyError(Invalid):
    """A strict body (app config, agent options, team specs) has an unknown key or a wrong type."""


class NumberedError(Invalid):
    """An application error that clients tell by its number: 1 role missing or unknown, 2 no admin left, 4 API-only."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number


class Missing(NotFound):
    """A named kind of object does not exist: `Missing("Team", 9)`."""

    def __init__(self, kind: str, which: int | str) -> None:
        super().__init__(f"{kind} {which} was not found in the datastore")


class AlreadyExists(Conflict):
    """The name is taken: `AlreadyExists("Team", "Servers")`."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f'{kind} "{name}" already exists')


class LimitExceeded(FleetError):
    """Too many attempts; `retry_after_seconds` says when the next one is allowed."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"limit exceeded, retry after: {retry_after_seconds}s")
        self.retry_after_seconds = retry_after_seconds
