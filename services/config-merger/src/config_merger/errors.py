"""What config-merger refuses."""

from __future__ import annotations

from flotilla_common.errors import Invalid, NotFound, Unavailable


class PlanRefused(Invalid):
    """The merged config is something that no host must be sent: the one before stays in force."""

    code = "plan_refused"


class UnknownTeam(NotFound):
    """There is no such team: the host's record is about to change."""

    code = "unknown_team"


class NotAClass(Invalid):
    """No host can be of such a class: inventory would have said it otherwise."""

    code = "not_a_class"


class TooManyClasses(Unavailable):
    """Somebody enrolls hosts of ever new kinds."""

    code = "too_many_classes"
