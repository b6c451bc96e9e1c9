"""Platforms: the word a host uses for its operating system, made safe to be part of a class.

Vocabulary: what `os_version.platform` says on the systems osquery is built for, and what Fleet counts as Linux.
"""

from __future__ import annotations

import re

PLATFORM_LENGTH = 32
FORBIDDEN = re.compile(r"[^a-z0-9_.-]")

LINUX = frozenset(
    (
        *("linux", "ubuntu", "debian", "rhel", "centos", "sles", "kali", "gentoo", "amzn", "pop", "arch", "linuxmint"),
        *("void", "nixos", "endeavouros", "manjaro", "opensuse-leap", "opensuse-tumbleweed", "tuxedo", "neon"),
    )
)

# Bits of `platform_type` in an enroll request (osquery, osquery/core/system.h, PlatformType).
WINDOWS_BIT = 2
LINUX_BIT = 8
MACOS_BIT = 16


def normalise(platform: str) -> str:
    """Return the platform in lower case, without odd characters, 32 characters at most."""
    return FORBIDDEN.sub("", platform.lower())[:PLATFORM_LENGTH]


def platform_of(platform: str, os_name: str) -> str:
    """Return the platform of an `os_version` row: old CentOS builds leave it empty and only say their name."""
    known = normalise(platform)
    if not known and "centos" in os_name.lower():
        return "centos"
    return known


def platform_of_type(platform_type: int) -> str:
    """Return what the bit mask alone tells, for hosts that send no `os_version`; a Linux stays nameless."""
    if platform_type & WINDOWS_BIT:
        return "windows"
    if platform_type & MACOS_BIT:
        return "darwin"
    return ""
