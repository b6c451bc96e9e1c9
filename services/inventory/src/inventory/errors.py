"""What inventory refuses, without a word about how it was asked."""

from __future__ import annotations

from flotilla_common.errors import Invalid, NotFound, NotNow, Unavailable


class NoHostIdentifier(Invalid):
    """A host that does not say who it is would share one row with all others that do not."""

    code = "no_host_identifier"


class TooLate(Unavailable):
    """An enroll that nobody waits for any more: this service is slow."""


class Overtaken(NotNow):
    """An enroll that was asked before the one whose key the host has, or that others of its host overtook again."""


class UnknownTeam(NotFound):
    """There is no such team."""

    code = "unknown_team"


class UnknownLabel(NotFound):
    """There is no such label."""

    code = "unknown_label"


class NotAManualLabel(Invalid):
    """The members of a dynamic or built-in label are not listed by people."""

    code = "not_a_manual_label"


class TooManyKeys(Invalid):
    """One request may look up so many keys and no more."""

    code = "too_many_keys"
