"""Built-in labels: which of them a host is in, told from what it said at enroll.

Each rule says what the label's own query would find (`contracts.labels`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla_common.contracts.labels import ALL_HOSTS, BUILTIN_LABELS

from inventory.domain.facts import number
from inventory.domain.platforms import LINUX

LABEL_ID = {label.name: label.label_id for label in BUILTIN_LABELS}
TOLD_FROM_FACTS = frozenset(label.label_id for label in BUILTIN_LABELS if not label.manual)
SONOMA = 14


def builtin_labels(facts: Mapping[str, Any], *, says_linux: bool = False) -> frozenset[int]:
    """Return the ids of the built-in labels that a host with these facts is in.

    `says_linux`: its osquery was built for Linux, whatever its distribution is called.
    """
    platform, name = str(facts.get("platform", "")), str(facts.get("os_name", ""))
    is_macos = platform == "darwin"
    claims = {
        "macOS": is_macos,
        "macOS 14+ (Sonoma+)": is_macos and number(str(facts.get("os_major", ""))) >= SONOMA,
        "Ubuntu Linux": platform == "ubuntu",
        "CentOS Linux": platform == "centos" or "centos" in name.lower(),
        "Red Hat Linux": "red hat" in name.lower(),
        "Fedora Linux": name == "Fedora Linux",
        "All Linux": says_linux or platform in LINUX,
        "MS Windows": platform == "windows",
        "chrome": platform == "chrome",
    }
    return frozenset({ALL_HOSTS} | {LABEL_ID[label] for label, is_in in claims.items() if is_in})
