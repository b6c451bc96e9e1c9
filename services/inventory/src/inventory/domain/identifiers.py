"""What a host is known by: what its osqueryd says, or what the installation prefers.

Source of the choices: Fleet 4.70, option `osquery.host_identifier`; a value that is missing falls back to what the
host's osqueryd says.
"""

from __future__ import annotations

from typing import Literal

from inventory.domain.facts import clean

HostIdentifier = Literal["provided", "instance", "uuid", "hostname"]
COLUMNS: dict[str, tuple[str, str]] = {
    "instance": ("osquery_info", "instance_id"),
    "uuid": ("osquery_info", "uuid"),
    "hostname": ("system_info", "hostname"),
}


def identifier_of(choice: HostIdentifier, provided: str, details: dict[str, dict[str, str]]) -> str:
    """Return the identifier of an enrolling host, empty when it has none at all."""
    table, column = COLUMNS.get(choice, ("", ""))
    return clean(details.get(table, {}).get(column, "")) or clean(provided)


def identifier_of_orbit(choice: HostIdentifier, osquery_identifier: str, hardware_uuid: str, hostname: str) -> str:
    """Return the identifier that the osqueryd of an enrolling orbit has, by what this orbit tells of it."""
    details = {"osquery_info": {"uuid": hardware_uuid}, "system_info": {"hostname": hostname}}
    return identifier_of(choice, clean(osquery_identifier) or hardware_uuid, details)
