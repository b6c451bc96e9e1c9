"""What can be wrong with a request about campaigns."""

from __future__ import annotations

from flotilla_common.errors import Conflict, Denied, Invalid, NotFound


class NothingTargeted(Invalid):
    """The selection matches no host that the caller may query."""

    def __init__(self) -> None:
        super().__init__("no hosts targeted")


class BadCampaign(Invalid):
    """The campaign cannot be run as asked; the text says why."""


class UnknownCampaign(NotFound):
    """There is no campaign with this id."""

    def __init__(self, campaign_id: int) -> None:
        super().__init__(f"cannot find campaign for ID {campaign_id}")


class EndedCampaign(Conflict):
    """The campaign is over, though its ledger may not be closed yet."""

    def __init__(self) -> None:
        super().__init__("the live query has ended")


class LiveQueriesOff(Denied):
    """An administrator has turned live queries off: none starts, and none goes on."""

    def __init__(self) -> None:
        super().__init__("live queries are turned off")
