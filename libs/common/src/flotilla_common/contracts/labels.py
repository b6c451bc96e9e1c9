"""The built-in labels: their names are a contract with existing clients, their ids are fixed by the first migration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BuiltinLabel:
    """A label that the server itself defines."""

    label_id: int
    name: str
    description: str
    query: str = ""
    platform: str = ""
    manual: bool = False


ALL_HOSTS = 1

BUILTIN_LABELS: tuple[BuiltinLabel, ...] = (
    BuiltinLabel(ALL_HOSTS, "All Hosts", "All hosts which have enrolled", "select 1;"),
    BuiltinLabel(2, "macOS", "All macOS hosts", "select 1 from os_version where platform = 'darwin';", "darwin"),
    BuiltinLabel(3, "Ubuntu Linux", "All Ubuntu hosts", "select 1 from os_version where platform = 'ubuntu';"),
    BuiltinLabel(
        4,
        "CentOS Linux",
        "All CentOS hosts",
        "select 1 from os_version where platform = 'centos' or name like '%centos%';",
    ),
    BuiltinLabel(
        5, "MS Windows", "All Windows hosts", "select 1 from os_version where platform = 'windows';", "windows"
    ),
    BuiltinLabel(6, "Red Hat Linux", "All Red Hat hosts", "select 1 from os_version where name like '%red hat%';"),
    BuiltinLabel(7, "All Linux", "All Linux hosts", "select 1 from osquery_info where build_platform like '%linux%';"),
    BuiltinLabel(8, "chrome", "All Chrome hosts", "select 1 from os_version where platform = 'chrome';", "chrome"),
    BuiltinLabel(
        9,
        "macOS 14+ (Sonoma+)",
        "macOS hosts with version 14 and above",
        "select 1 from os_version where platform = 'darwin' and major >= 14;",
        "darwin",
    ),
    BuiltinLabel(10, "iOS", "All iOS hosts", manual=True),
    BuiltinLabel(11, "iPadOS", "All iPadOS hosts", manual=True),
    BuiltinLabel(12, "Fedora Linux", "All Fedora hosts", "select 1 from os_version where name = 'Fedora Linux';"),
    BuiltinLabel(13, "Android", "All Android hosts", manual=True),
)
FIRST_REGULAR_LABEL_ID = 100
