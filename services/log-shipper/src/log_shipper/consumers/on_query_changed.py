"""definitions.query_changed.v1, definitions.app_config_changed.v1: results that are not kept any more go away."""

from __future__ import annotations

from flotilla_common.bus.consumer import event_subscription
from flotilla_common.contracts.definitions import AppConfigChangedV1, QueryChangedV1

from log_shipper.deps import Deps
from log_shipper.domain import report_keeping


async def handle(event: QueryChangedV1 | AppConfigChangedV1, deps: Deps) -> None:
    """Idempotent: goes by what is stored now, whatever the event was about."""
    del event
    async with deps.sessions.begin() as session:
        await report_keeping.forget_void_queries(session)


SUBSCRIPTIONS = (
    event_subscription(QueryChangedV1, "log-shipper-on_query_changed", handle),
    event_subscription(AppConfigChangedV1, "log-shipper-on_app_config_changed", handle),
)
