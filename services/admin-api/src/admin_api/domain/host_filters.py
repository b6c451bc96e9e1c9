"""The filters of host lists (admin API 9.3): parsed by their documented rules.

Where the data behind a filter is not collected yet (software, policies, MDM, disks ...), no host can match it, so a
well-formed filter selects nothing; a malformed one is refused as documented.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from admin_api.errors import BadRequest
from admin_api.store.hosts import HostFilter

STATUSES = ("new", "online", "offline", "mia", "missing")
LARGEST_ID = 2**63 - 1
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
_OS_SETTINGS = ("verified", "verifying", "pending", "failed")
_DISK_ENCRYPTION = ("verified", "verifying", "action_required", "enforcing", "failed", "removing_enforcement")
_CHOICES: dict[str, tuple[str, ...]] = {
    "mdm_enrollment_status": ("manual", "automatic", "enrolled", "pending", "unenrolled"),
    "macos_settings": _OS_SETTINGS,
    "os_settings": _OS_SETTINGS,
    "macos_settings_disk_encryption": _DISK_ENCRYPTION,
    "os_settings_disk_encryption": _DISK_ENCRYPTION,
    "bootstrap_package": ("installed", "pending", "failed"),
}
_SOFTWARE = ("software_id", "software_version_id", "software_title_id")
_NUMBERS = (*_SOFTWARE, "os_id", "os_version_id", "mdm_id", "munki_issue_id")
_TEXTS = (
    "vulnerability",
    "mdm_name",
    "profile_uuid",
    "profile_status",
    "connected_to_fleet",
    "script_batch_execution_id",
    "script_batch_execution_status",
)


@dataclass(frozen=True)
class HostView:
    """What a list adds to each host, besides the filter itself."""

    labels: bool = False
    software: bool = False
    policies: bool = False
    users: bool = False
    device_mapping: bool = False
    additional: bool = False


def parse(parameters: Mapping[str, str], *, label_id: int | None = None, query: str = "") -> HostFilter:
    """Return the filter that the query parameters describe.

    Raises:
        BadRequest: one of them is wrong, or goes only with another.

    """
    given = {name: value for name, value in parameters.items() if value != ""}
    _check_combinations(given)
    return HostFilter(
        status=_one_of(given.get("status"), STATUSES, "Invalid status: {}"),
        team_id=_optional_id("team_id", given),
        label_id=label_id,
        query=query,
        os_name=given.get("os_name"),
        os_version=given.get("os_version"),
        impossible=_selects_by_missing_data(given),
    )


def parse_view(parameters: Mapping[str, str]) -> HostView:
    """Return what is to be added to each host.

    Raises:
        BadRequest: a value is no boolean.

    """
    issues = [_flag(name, parameters.get(name, "")) for name in ("disable_failing_policies", "disable_issues")]
    if any(issues) and parameters.get("order_key") == "issues":
        raise BadRequest("invalid order_key: issues are disabled")
    software = parameters.get("populate_software", "")
    return HostView(
        labels=_flag("populate_labels", parameters.get("populate_labels", "")),
        software=software == "without_vulnerability_details" or _flag("populate_software", software),
        policies=_flag("populate_policies", parameters.get("populate_policies", "")),
        users=_flag("populate_users", parameters.get("populate_users", "")),
        device_mapping=_flag("device_mapping", parameters.get("device_mapping", "")),
        additional=bool(parameters.get("additional_info_filters")),
    )


def _check_combinations(given: Mapping[str, str]) -> None:
    if sum(name in given for name in _SOFTWARE) > 1:
        raise BadRequest("software_id, software_version_id and software_title_id exclude each other")
    if "software_status" in given and not {"software_title_id", "team_id"} <= given.keys():
        raise BadRequest("software_status needs software_title_id and team_id")
    if ("os_name" in given) != ("os_version" in given):
        raise BadRequest("os_name and os_version must be given together")
    if "policy_response" in given and "policy_id" not in given:
        raise BadRequest("Missing policy_id (it must be present when policy_response is specified)")


def _selects_by_missing_data(given: Mapping[str, str]) -> bool:
    choices = [_one_of(given.get(name), allowed, f"Invalid {name}: {{}}") for name, allowed in _CHOICES.items()]
    numbers = [_optional_id(name, given) for name in _NUMBERS]
    disk = _optional_id("low_disk_space", given)
    if disk is not None and not 1 <= disk <= 100:
        raise BadRequest("invalid low_disk_space threshold, must be between 1 and 100")
    policy = _optional_id("policy_id", given)
    response = _one_of(given.get("policy_response"), ("passing", "failing"), "Invalid policy_response: {}")
    return any(value is not None for value in (*choices, *numbers, disk, policy, response)) or any(
        name in given for name in _TEXTS
    )


def _one_of(value: str | None, allowed: tuple[str, ...], complaint: str) -> str | None:
    if value is not None and value not in allowed:
        raise BadRequest(complaint.format(value))
    return value


def parse_id(name: str, value: str) -> int:
    """Return the id that a query parameter names.

    Raises:
        BadRequest: it is no number.

    """
    if not re.fullmatch("[0-9]{1,19}", value) or int(value) > LARGEST_ID:
        raise BadRequest(f"Invalid {name}: {value[:100]}")
    return int(value)


def _optional_id(name: str, given: Mapping[str, str]) -> int | None:
    return parse_id(name, given[name]) if name in given else None


def _flag(name: str, value: str) -> bool:
    if value == "":
        return False
    if value not in _BOOLEANS:
        raise BadRequest(f"Invalid {name}: {value[:100]}")
    return _BOOLEANS[value]
