"""What orbit and the desktop application of a class get: parts of agent options, and who runs this.

Source of the shapes and of which document counts: Fleet 4.70, orbit config. In a team that replaces, the team's
document alone counts, also when there is none. A member that nobody set is absent: orbit takes null, or `{}` where
nothing was, for an order to wipe its flags and to restart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from config_merger.domain.layered import overlay, whole
from config_merger.domain.layers import HostClass, Layers
from config_merger.domain.plans import encode
from config_merger.errors import PlanRefused

ORBIT_LIMIT = 1024 * 1024  # bytes
FAMILIES = {"darwin": "macos", "windows": "windows"}
NO_EXTENSIONS = ("", "chrome", "ios", "ipados")
"""Platforms that orbit does not run on; every other one is a Linux."""


@dataclass(frozen=True)
class OrbitBytes:
    """An OrbitPlan (`contracts.plans`) as JSON, and its hash."""

    body: bytes = b""
    sha256: str = ""


@dataclass(frozen=True)
class _Options:
    members: Mapping[str, Any] = field(default_factory=dict)

    def object(self, name: str) -> dict[str, Any] | None:
        value = self.members.get(name)
        return value if isinstance(value, dict) else None


def compile_orbit(layers: Layers, host_class: HostClass) -> OrbitBytes:
    """Compile what orbit and the desktop of a class get.

    Raises:
        PlanRefused: it is too large.

    """
    plan = {
        "config": orbit_config(layers, host_class),
        "desktop": desktop_summary(layers),
        "transparency_url": layers.desktop.transparency_url,
    }
    body = encode(plan)
    if len(body) > ORBIT_LIMIT:
        raise PlanRefused(f"the config of orbit has {len(body)} bytes, {ORBIT_LIMIT} at most")
    return OrbitBytes(body, hashlib.sha256(body).hexdigest())


def orbit_config(layers: Layers, host_class: HostClass) -> dict[str, Any]:
    """Return the answer to `orbit/config`."""
    options = _Options(_members(layers))
    config: dict[str, Any] = {"notifications": {}}
    timeout = options.members.get("script_execution_timeout")
    if isinstance(timeout, int) and not isinstance(timeout, bool) and timeout > 0:
        config["script_execution_timeout"] = timeout
    flags = options.object("command_line_flags")
    if flags is not None:
        config["command_line_startup_flags"] = flags
    extensions = _extensions(options.object("extensions") or {}, layers, host_class)
    if extensions:
        config["extensions"] = extensions
    channels = options.object("update_channels")
    if channels:
        config["update_channels"] = channels
    return config


def desktop_summary(layers: Layers) -> dict[str, Any]:
    """Return the answer to `desktop`: who runs this. Policies are not counted yet, so nothing is said of them."""
    desktop = layers.desktop
    return {
        "self_service": False,
        "notifications": {},
        "config": {
            "org_info": {
                "org_name": desktop.org_name,
                "org_logo_url": desktop.org_logo_url,
                "org_logo_url_light_background": desktop.org_logo_url_light_background,
                "contact_url": desktop.contact_url,
            },
            "mdm": {"macos_migration": {"mode": ""}},
        },
    }


def _members(layers: Layers) -> Mapping[str, Any]:
    installation = layers.installation.members
    if layers.team is None:
        return installation
    team = layers.team.options
    if layers.team.mode != "merge":
        return team.members
    merged: dict[str, Any] = overlay(whole(dict(installation), "global"), dict(team.members), team.layer).value
    return merged


def _extensions(extensions: dict[str, Any], layers: Layers, host_class: HostClass) -> dict[str, Any]:
    """Return those for the platform, and for hosts that are in all the labels which the extension lists."""
    family = FAMILIES.get(host_class.platform, "" if host_class.platform in NO_EXTENSIONS else "linux")
    of_class = {name for name, label_id in layers.label_ids.items() if label_id in host_class.scope_labels}
    return {
        name: {key: value for key, value in extension.items() if key != "labels"}
        for name, extension in extensions.items()
        if isinstance(extension, dict)
        and family
        and extension.get("platform") == family
        and _are_all_in(extension.get("labels") or [], of_class)
    }


def _are_all_in(labels: Any, of_class: set[str]) -> bool:
    return isinstance(labels, list) and all(isinstance(name, str) and name in of_class for name in labels)
