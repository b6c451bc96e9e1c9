"""Every table, one module per owner. Importing this package fills the metadata that migrations compare with."""

from flotilla_common.db.models import admin_api, analytics, config_merger, inventory, live_query, log_shipper

__all__ = ["admin_api", "analytics", "config_merger", "inventory", "live_query", "log_shipper"]
