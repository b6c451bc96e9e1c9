"""Kinds of error. `domain/` raises a subclass; the edges turn kinds into statuses, or into osquery's dialect."""

from __future__ import annotations

from typing import ClassVar


class FleetError(Exception):
    """An expected failure with a stable `code` that may cross the bus.

    Subclasses that another service must recognise set their own `code`; the bus turns a code back into its class.
    """

    code: ClassVar[str] = "internal"
    by_code: ClassVar[dict[str, type[FleetError]]] = {}

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.code)

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "code" in cls.__dict__:
            FleetError.by_code[cls.code] = cls


class Denied(FleetError):
    """The caller may not do this."""

    code = "denied"


class NotFound(FleetError):
    """There is no such thing, or none that the caller may know of."""

    code = "not_found"


class Conflict(FleetError):
    """It exists already, or changed meanwhile."""

    code = "conflict"


class Invalid(FleetError):
    """The request itself is wrong; repeating it cannot help."""

    code = "invalid"


class Unavailable(FleetError):
    """A part that is needed does not answer now; repeating later can help."""

    code = "unavailable"


class LeaseLost(Unavailable):
    """Somebody else has what this replica held alone; what it was about to write is void."""

    code = "lease_lost"


class Unanswered(Unavailable):
    """A request was sent and no answer came: whether it was done is unknown."""


class Refused(Unavailable):
    """A stream said that it does not store a message: it is full, most likely."""


class NotNow(Unavailable):
    """Who is asked does answer: this one thing cannot be done now. It says nothing about any other: no outage."""

    code = "not_now"


class Poison(FleetError):
    """A message that no retry can help: it is buried at once."""

    code = "poison"


KINDS: tuple[type[FleetError], ...] = (Denied, NotFound, Conflict, Invalid, Unavailable, Poison)


def kind_of(error: FleetError) -> str:
    """Return the kind's name (`denied`, `not_found`, ...) of an error of any subclass."""
    return next((kind.code for kind in KINDS if isinstance(error, kind)), FleetError.code)


def error_from(kind: str, code: str, message: str) -> FleetError:
    """Build the error that another process raised: its own class when it is known here, else its kind."""
    chosen = FleetError.by_code.get(code) or FleetError.by_code.get(kind) or FleetError
    return chosen(message)
