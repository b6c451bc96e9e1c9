"""Kinds of hosts: Ubuntu, RHEL-like, macOS, Windows."""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

NAMES = ("ubuntu", "rhel", "macos", "windows")
DEFAULT_MIX = ("ubuntu", "windows", "ubuntu", "macos", "rhel")
"""Who comes in turn when no profiles are asked for."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Profile:
    """All that the hosts of one kind have in common."""

    name: str
    platform: str
    """osquery's name of the system family: linux, darwin or windows."""
    platform_type: str
    """osquery's bit mask, as text: posix 1, windows 2, linux 8, macOS 16."""
    build_distro: str
    os: dict[str, str]
    interface: str
    loopback: str
    vendor: str
    model: str
    package_table: str
    tables: dict[str, list[Row]]


@cache
def load(name: str) -> Profile:
    """Read a profile that ships with the package."""
    if name not in NAMES:
        raise ValueError(f"unknown profile {name!r}; known are {', '.join(NAMES)}")
    return Profile(name=name, **read_data(f"profile-{name}.json"))


def read_data(file_name: str) -> Any:
    """Parse a JSON file of the package's data folder."""
    return json.loads((resources.files(__package__) / "data" / file_name).read_text("utf-8"))


def assign(count: int, wanted: dict[str, int]) -> list[str]:
    """Name the profile of each host, in order: as many of each as wanted, the rest by the default mix."""
    names = [name for name, number in wanted.items() for _ in range(number)]
    if wanted and len(names) != count:
        raise ValueError(f"profiles add up to {len(names)} hosts, but {count} were asked for")
    return names or [DEFAULT_MIX[index % len(DEFAULT_MIX)] for index in range(count)]
