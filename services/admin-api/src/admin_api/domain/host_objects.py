"""Hosts as the API shows them (admin API 9.2). Facts that nobody has collected yet have their documented defaults."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from flotilla_common.db.models.admin_api import Label
from flotilla_common.db.models.inventory import Host

from admin_api.domain.label_objects import label_object
from admin_api.store.hosts import HostRow

NEVER = "0001-01-01T00:00:00Z"
UNMANAGED: dict[str, Any] = {
    "enrollment_status": None,
    "dep_profile_error": False,
    "server_url": None,
    "name": "",
    "encryption_key_available": False,
    "connected_to_fleet": None,
}
UNMANAGED_DETAIL = {**UNMANAGED, "device_status": "unlocked", "pending_action": "", "profiles": []}


def moment(time: datetime | None) -> str:
    """Return a time as RFC 3339 in UTC; None is the word for "never"."""
    return NEVER if time is None else time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def host_object(row: HostRow) -> dict[str, Any]:
    """Return a host as it stands in lists."""
    host = row.host
    return {
        **_times(row),
        "id": row.host_id,
        "refetch_requested": host.refetch_requested,
        **_identity(host),
        **_hardware(host),
        "distributed_interval": host.distributed_interval_seconds,
        "config_tls_refresh": host.config_refresh_seconds,
        "logger_tls_period": host.logger_tls_period_seconds,
        "team_id": host.team_id,
        "pack_stats": None,
        "team_name": row.team_name,
        "gigs_disk_space_available": 0,
        "percent_disk_space_available": 0,
        "gigs_total_disk_space": 0,
        "issues": {"failing_policies_count": 0, "critical_vulnerabilities_count": 0, "total_issues_count": 0},
        "mdm": dict(UNMANAGED),
        "refetch_critical_queries_until": None,
        "last_restarted_at": NEVER,
        **naming(row),
    }


def naming(row: HostRow) -> dict[str, Any]:
    """Return what every short form of a host has too."""
    return {
        "status": "online" if row.online else "offline",
        "display_text": row.host.hostname,
        "display_name": row.display_name,
    }


def _times(row: HostRow) -> dict[str, Any]:
    host = row.host
    return {
        "created_at": moment(host.created_at),
        "updated_at": moment(host.updated_at),
        "software_updated_at": NEVER,
        "detail_updated_at": moment(host.detail_updated_at),
        "label_updated_at": moment(host.label_updated_at),
        "policy_updated_at": moment(host.policy_updated_at),
        "last_enrolled_at": moment(host.last_enrolled_at),
        "seen_time": moment(row.seen_time),
    }


def _identity(host: Host) -> dict[str, Any]:
    return {
        "hostname": host.hostname,
        "host_identifier": host.host_identifier,  # not in Fleet: tells machines apart that share all other names
        "uuid": host.uuid,
        "platform": host.platform,
        "osquery_version": host.osquery_version,
        "orbit_version": None,
        "fleet_desktop_version": None,
        "scripts_enabled": None,
        "os_version": host.os_version,
        "build": host.build,
        "platform_like": host.platform_like,
        "code_name": host.code_name,
        "uptime": 0,
    }


def _hardware(host: Host) -> dict[str, Any]:
    return {
        "memory": host.memory_bytes,
        "cpu_type": host.cpu_type,
        "cpu_subtype": host.cpu_subtype,
        "cpu_brand": host.cpu_brand,
        "cpu_physical_cores": host.cpu_physical_cores,
        "cpu_logical_cores": host.cpu_logical_cores,
        "hardware_vendor": host.hardware_vendor,
        "hardware_model": host.hardware_model,
        "hardware_version": host.hardware_version,
        "hardware_serial": host.hardware_serial,
        "computer_name": host.computer_name,
        "public_ip": host.public_ip,
        "primary_ip": host.primary_ip,
        "primary_mac": host.primary_mac,
    }


def host_detail(row: HostRow, labels: Sequence[Label], *, exclude_software: bool) -> dict[str, Any]:
    """Return a host as it stands alone: with its labels, policies, packs and software."""
    software: dict[str, Any] = {} if exclude_software else {"software": []}
    return {
        **host_object(row),
        "mdm": dict(UNMANAGED_DETAIL),
        "labels": [label_object(label) for label in labels],
        "packs": [],
        "policies": [],
        "batteries": None,
        "last_mdm_enrolled_at": None,
        "last_mdm_checked_in_at": None,
        **software,
    }
