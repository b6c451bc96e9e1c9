"""Facts: what an enrolling host says about itself, cleaned and bounded. All of it is hostile text.

Rules of the columns: Fleet's ingestion of os_version, osquery_info and system_info.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from inventory.domain import platforms

TEXT_LENGTH = 255
BIGINT_MAX = 2**63 - 1
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # Postgres takes neither; cpu_brand really is padded with NULs
CODENAME = re.compile(r"\([^)]*\)")
PLACEHOLDER_SERIALS = ("default", "serial", "string")
KEEP_SERIAL = "-1"

Row = Mapping[str, str]
Facts = dict[str, Any]
"""Column of table `hosts` -> value; a fact that the host did not tell is absent, so that an older one stays."""

SYSTEM_TEXTS = {
    "hostname": "hostname",
    "computer_name": "computer_name",
    "uuid": "uuid",
    "boot_id": "boot_id",
    "cpu_type": "cpu_type",
    "cpu_subtype": "cpu_subtype",
    "cpu_brand": "cpu_brand",
    "hardware_vendor": "hardware_vendor",
    "hardware_model": "hardware_model",
    "hardware_version": "hardware_version",
}
SYSTEM_NUMBERS = {
    "physical_memory": "memory_bytes",
    "cpu_physical_cores": "cpu_physical_cores",
    "cpu_logical_cores": "cpu_logical_cores",
}
OS_TEXTS = {
    "platform_like": "platform_like",
    "codename": "code_name",
    "build": "build",
    "name": "os_name",
    "major": "os_major",
}


def clean(text: str) -> str:
    """Return text that Postgres stores, trimmed, 255 characters at most."""
    return UNSTORABLE.sub("", text).strip()[:TEXT_LENGTH].rstrip()


def serial_of(text: str) -> str:
    """Return a hardware serial, empty when it is what a board says that was never given one."""
    serial = clean(text)
    is_placeholder = any(word in serial.lower() for word in PLACEHOLDER_SERIALS)
    return "" if is_placeholder or serial == KEEP_SERIAL else serial


def number(text: str) -> int:
    """Return a number of a bigint column; 0 for what is none."""
    digits = text.strip()[:20]
    return min(int(digits), BIGINT_MAX) if digits.isascii() and digits.isdigit() else 0


def facts_of(host_details: Mapping[str, Row], platform_type: str, remote_address: str) -> Facts:
    """Return the facts of an enroll request; any table, and any column of one, may be missing."""
    facts = _of_system(host_details.get("system_info", {}))
    facts |= _of_osquery(host_details.get("osquery_info", {}), known=facts)
    os_row = host_details.get("os_version", {})
    facts |= _of_os(os_row)
    if not os_row and (platform := platforms.platform_of_type(number(platform_type))):
        facts["platform"] = platform
    if remote_address:
        facts["public_ip"] = clean(remote_address)
    return facts


def _of_system(row: Row) -> Facts:
    facts: Facts = {column: clean(row[name]) for name, column in SYSTEM_TEXTS.items() if name in row}
    facts |= {column: number(row[name]) for name, column in SYSTEM_NUMBERS.items() if name in row}
    told = row.get("hardware_serial", KEEP_SERIAL)
    if clean(told) != KEEP_SERIAL:
        facts["hardware_serial"] = serial_of(told)
    return facts


def _of_osquery(row: Row, *, known: Facts) -> Facts:
    facts: Facts = {}
    if "version" in row:
        facts["osquery_version"] = clean(row["version"])
    if "instance_id" in row:
        facts["instance_id"] = clean(row["instance_id"])
    if "uuid" in row and not known.get("uuid"):
        facts["uuid"] = clean(row["uuid"])
    return facts


def _of_os(row: Row) -> Facts:
    if not row:
        return {}
    cleaned = {name: clean(value) for name, value in row.items()}
    facts: Facts = {column: cleaned[name] for name, column in OS_TEXTS.items() if name in cleaned}
    facts["platform"] = platforms.platform_of(cleaned.get("platform", ""), cleaned.get("name", ""))
    facts["os_version"] = os_version_text(cleaned)
    return facts


def os_version_text(row: Row) -> str:
    """Return the operating system's name and version as people read it, e.g. `Ubuntu 22.04.4 LTS`."""
    name = row.get("name", "").replace("Microsoft ", "")
    return clean(f"{name} {_version(row)}")


def _version(row: Row) -> str:
    text = CODENAME.sub("", row.get("version", "")).strip()
    parts = [row.get(part, "") for part in ("major", "minor", "patch")]
    if row.get("platform") in {"ubuntu", "chrome", "windows"} or "ubuntu" in row.get("name", "").lower():
        return text
    if any(part not in {"", "0"} for part in parts):
        return ".".join(part for part in parts if part)
    return text or row.get("build", "")
