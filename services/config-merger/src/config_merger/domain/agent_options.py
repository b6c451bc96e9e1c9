"""Agent options of a class: the osquery config before packs are added. Two ways to merge, chosen by the team.

replace (the default, as Fleet does it, so that existing documents behave the same)
    The team's document alone, if it has one (JSON null and {} are documents: an empty config); else the
    installation's; else the built-in one. An override for the host's platform, spelled exactly alike, replaces
    `config` as a whole.

merge (a team states only what differs)
    Each layer is an RFC 7396 patch over all below it: the installation's config, the team's config, the
    installation's override for the platform, the team's override for the platform. Null deletes what any layer below
    said. A team that sets `overrides`, `overrides.platforms` or the platform's override to null drops the
    installation's override. JSON null as the team's whole document states nothing.
"""

from __future__ import annotations

from typing import Any

from config_merger.domain.defaults import DEFAULT_AGENT_OPTIONS
from config_merger.domain.layered import Layered, overlay, whole
from config_merger.domain.layers import AgentOptions, Layers

BUILT_IN = AgentOptions("built-in", DEFAULT_AGENT_OPTIONS, present=True)


def config_of(layers: Layers, platform: str) -> Layered:
    """Return the config that a host of this platform gets from agent options. Always an object."""
    base = layers.installation if layers.installation.present else BUILT_IN
    if layers.team is None:
        return _replaced(base, platform)
    if layers.team.mode == "merge":
        return _merged(base, layers.team.options, platform)
    return _replaced(layers.team.options if layers.team.options.present else base, platform)


def _replaced(options: AgentOptions, platform: str) -> Layered:
    found, override = options.override(platform)
    if found:
        return whole(_object(override), _override_layer(options, platform))
    return whole(_object(options.members.get("config")), options.layer)


def _merged(base: AgentOptions, team: AgentOptions, platform: str) -> Layered:
    config = whole(_object(base.members.get("config")), base.layer)
    if "config" in team.members:
        config = overlay(config, _object(team.members["config"]), team.layer)
        if team.members["config"] is None:
            config = whole({}, team.layer)
    for options in (base, team):
        found, override = options.override(platform)
        is_dropped = options is base and _drops_override(team, platform)
        if found and not is_dropped:
            config = overlay(config, _object(override), _override_layer(options, platform))
    return config


def _drops_override(team: AgentOptions, platform: str) -> bool:
    """Whether the team's document deletes the installation's override for the platform, by a null on the way to it."""
    node: Any = team.members
    for name in ("overrides", "platforms", platform):
        if not isinstance(node, dict) or name not in node:
            return False
        node = node[name]
        if node is None:
            return True
    return False


def _override_layer(options: AgentOptions, platform: str) -> str:
    return f"{options.layer}:overrides.platforms.{platform}"


def _object(value: Any) -> dict[str, Any]:
    """Return the value if it is an object; osqueryd takes nothing else, and people can force anything in."""
    return value if isinstance(value, dict) else {}
