"""Stream OVERRUNS: live queries that cost more than they may. Published by live-query alone, through its outbox."""

from __future__ import annotations

from typing import ClassVar

from flotilla_common.contracts.base import Event

STREAM = "OVERRUNS"


class CampaignOverBudgetV1(Event):
    """A campaign was paused by the answer that took it above a budget; `reason` is its `pause_reason`."""

    subject: ClassVar[str] = "overruns.campaign_over_budget.v1"

    campaign_id: int
    budget: str
    reason: str
