"""A live query was paused by its budget: people are told, once."""

from __future__ import annotations

import asyncio

from admin_api.consumers import on_campaign_over_budget
from flotilla_common.bus.consumer import consume
from flotilla_common.contracts.overruns import CampaignOverBudgetV1
from flotilla_common.db.models.admin_api import Activity
from flotilla_common.testing.waiting import eventually


async def test_a_pause_by_its_budget_is_an_activity_once(deps, bus_for, database):
    live_query = await bus_for("live_query")
    task = asyncio.create_task(consume(deps.bus, on_campaign_over_budget.SUBSCRIPTION, deps))
    event = CampaignOverBudgetV1(campaign_id=7, budget="rows", reason="over budget: max_rows is 1, 2 came")
    await live_query.publish(event)
    [activity] = await eventually(lambda: database.rows(Activity), timeout=30.0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await on_campaign_over_budget.handle(event, deps)

    assert len(await database.rows(Activity)) == 1
    assert (activity.type, activity.fleet_initiated) == ("paused_live_query_over_budget", True)
    assert activity.details == {
        "campaign_id": 7,
        "budget": "rows",
        "reason": "over budget: max_rows is 1, 2 came",
        "query_sql": None,
        "user_id": None,
    }
