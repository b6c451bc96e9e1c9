"""Plans: the exact bytes of a class' config, the same on every replica for the same layers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from config_merger.domain.agent_options import config_of
from config_merger.domain.layered import with_member
from config_merger.domain.layers import HostClass, Layers
from config_merger.domain.packs import packs_of
from config_merger.errors import PlanRefused

CONFIG_LIMIT = 3_670_016  # bytes, 3.5 MiB; above 4 MiB osqueryd drops its old schedule, then refuses the new one
NESTING_LIMIT = 32  # levels; osquery, osquery/utils/json/json.cpp
ETAG_LENGTH = 32


@dataclass(frozen=True)
class CompiledPlan:
    """The config's bytes, their hash, and which layer each leaf came from (JSON pointer -> layer)."""

    config: bytes
    sha256: str
    provenance: dict[str, str]


def compile_plan(layers: Layers, host_class: HostClass) -> CompiledPlan:
    """Compile the plan of a class.

    Raises:
        PlanRefused: the config is too large or too deep for osqueryd, or no JSON.

    """
    config = config_of(layers, host_class.platform)
    packs = packs_of(layers, host_class)
    if packs is not None:
        config = with_member(config, "packs", packs)
    if _depth(config.value) > NESTING_LIMIT:
        raise PlanRefused(f"the config nests deeper than {NESTING_LIMIT} levels")
    body = encode(config.value)
    if len(body) > CONFIG_LIMIT:
        raise PlanRefused(f"the config has {len(body)} bytes, {CONFIG_LIMIT} at most")
    return CompiledPlan(body, hashlib.sha256(body).hexdigest(), config.provenance())


def encode(config: Any) -> bytes:
    """Return compact JSON with sorted keys: osqueryd takes another order for another config."""
    try:
        text = json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()
    except ValueError as error:  # a number beyond floating point, or half a surrogate pair
        raise PlanRefused(f"the config is no JSON: {error}") from error


def etag_of(sha256: str) -> str:
    """Return the etag of config bytes; never `ok`, which means "unchanged" on the wire."""
    return sha256[:ETAG_LENGTH]


def _depth(value: Any) -> int:
    deepest, level = 0, [value]
    while level and deepest <= NESTING_LIMIT:
        parts = [part for item in level if isinstance(item, dict) for part in item.values()]
        parts += [part for item in level if isinstance(item, list) for part in item]
        deepest += any(isinstance(item, dict | list) for item in level)
        level = parts
    return deepest
