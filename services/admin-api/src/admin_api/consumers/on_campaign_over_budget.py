"""overruns.campaign_over_budget.v1: people are told that a live query was paused by its budget."""

from __future__ import annotations

from flotilla_common.bus.consumer import event_subscription
from flotilla_common.contracts.overruns import CampaignOverBudgetV1

from admin_api.deps import Deps
from admin_api.store import campaigns, host_activities


async def handle(event: CampaignOverBudgetV1, deps: Deps) -> None:
    """Idempotent: the activity carries the event's id, which is unique."""
    async with deps.sessions.begin() as session:
        campaign = await campaigns.by_id(session, event.campaign_id)
        details = {
            "campaign_id": event.campaign_id,
            "budget": event.budget,
            "reason": event.reason,
            "query_sql": None if campaign is None else campaign.sql,
            "user_id": None if campaign is None else campaign.user_id,
        }
        await host_activities.add_once(session, event.event_id, "paused_live_query_over_budget", details)


SUBSCRIPTION = event_subscription(CampaignOverBudgetV1, "admin-api-on_campaign_over_budget", handle)
