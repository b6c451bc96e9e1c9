"""Parts of the config that nobody can change here: device management values, and what only the server knows."""

from __future__ import annotations

from typing import Any

from admin_api.errors import InvalidArgument

HOUR_NANOSECONDS = 3600 * 10**9
SERVER_ONLY = frozenset(
    {
        "update_interval",
        "vulnerabilities",
        "license",
        "logging",
        "email",
        "sandbox_enabled",
        "partnerships",
        "conditional_access",
    }
)

MDM: dict[str, Any] = {
    "apple_server_url": "",
    "apple_bm_enabled_and_configured": False,
    "apple_bm_terms_expired": False,
    "apple_business_manager": [],
    "enabled_and_configured": False,
    "android_enabled_and_configured": False,
    "macos_updates": {"minimum_version": None, "deadline": None},
    "ios_updates": {"minimum_version": None, "deadline": None},
    "ipados_updates": {"minimum_version": None, "deadline": None},
    "windows_updates": {"deadline_days": None, "grace_period_days": None},
    "macos_settings": {"custom_settings": None},
    "macos_setup": {
        "bootstrap_package": None,
        "enable_end_user_authentication": False,
        "macos_setup_assistant": None,
        "enable_release_device_manually": False,
        "script": None,
        "software": None,
        "manual_agent_install": None,
    },
    "macos_migration": {"enable": False, "mode": "", "webhook_url": ""},
    "windows_migration_enabled": False,
    "windows_enabled_and_configured": False,
    "windows_settings": {"custom_settings": None},
    "end_user_authentication": {
        "entity_id": "",
        "issuer_uri": "",
        "metadata": "",
        "metadata_url": "",
        "idp_name": "",
    },
    "enable_disk_encryption": False,
    "volume_purchasing_program": None,
}

TEAM_MDM: dict[str, Any] = {
    "enable_disk_encryption": False,
    "macos_updates": {"minimum_version": None, "deadline": None},
    "ios_updates": {"minimum_version": None, "deadline": None},
    "ipados_updates": {"minimum_version": None, "deadline": None},
    "windows_updates": {"deadline_days": None, "grace_period_days": None},
    "macos_settings": {"custom_settings": None},
    "macos_setup": MDM["macos_setup"],
    "windows_settings": {"custom_settings": None},
}


def server_only() -> dict[str, Any]:
    """Return what GET /config adds: intervals in nanoseconds, licence, log destinations."""
    sink = {"plugin": "flotilla", "config": {}}
    return {
        "update_interval": {"osquery_detail": HOUR_NANOSECONDS, "osquery_policy": HOUR_NANOSECONDS},
        "vulnerabilities": {
            "databases_path": "",
            "periodicity": HOUR_NANOSECONDS,
            "cpe_database_url": "",
            "cpe_translations_url": "",
            "cve_feed_prefix_url": "",
            "current_instance_checks": "auto",
            "disable_data_sync": False,
            "recent_vulnerability_max_age": 30 * 24 * HOUR_NANOSECONDS,
            "disable_win_os_vulnerabilities": False,
        },
        "license": {"tier": "premium", "expiration": "9999-12-31T00:00:00Z"},
        "logging": {"debug": False, "json": True, "result": sink, "status": sink, "audit": sink},
    }


def refuse_mdm(given: object, defaults: dict[str, Any] = MDM) -> None:
    """Take the defaults, nulls and empty lists of device management, which is off here.

    Raises:
        InvalidArgument: anything else is set.

    """
    changed = _first_change(given, defaults)
    if changed is not None:
        block = changed or "mdm"
        reason = f"Couldn't update {block} because MDM features aren't turned on in Fleet."
        raise InvalidArgument(f"mdm.{block}", reason)


def _first_change(given: object, default: object) -> str | None:
    """Return the name of the first member that differs, None where nothing does, empty for the value itself."""
    if given is None or given in ("", [], {}, False) or given == default:
        return None
    if not isinstance(given, dict) or not isinstance(default, dict):
        return ""
    for name, value in given.items():
        if _first_change(value, default.get(name)) is not None:
            return str(name)
    return None
