"""JSON values that remember which layer each of their leaves came from.

A leaf is whatever is not an object with members: text, numbers, arrays (which layers replace as a whole), `{}`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Origin = Any
"""The name of a layer for a leaf; for an object with members, the same members -> their origins."""


@dataclass(frozen=True)
class Layered:
    """A JSON value and the origin of its parts."""

    value: Any
    origin: Origin

    def provenance(self) -> dict[str, str]:
        """Return JSON pointer (RFC 6901) -> layer for every leaf; a layer may also name a whole subtree."""
        return dict(_pointers(self.origin, ""))


def whole(value: Any, layer: str) -> Layered:
    """Return a value that comes from one layer as it is."""
    return Layered(value, _tag(value, layer))


def overlay(below: Layered, patch: Any, layer: str) -> Layered:
    """Return RFC 7396's merge of a patch over the layers below: objects merge, null deletes, all else replaces."""
    value, origin = _merge(below.value, below.origin, patch, layer)
    return Layered(value, origin)


def with_member(below: Layered, name: str, member: Layered) -> Layered:
    """Return an object in which one member is replaced as a whole."""
    origins = below.origin if isinstance(below.origin, dict) else {}
    return Layered({**below.value, name: member.value}, {**origins, name: member.origin})


def _tag(value: Any, layer: str) -> Origin:
    if isinstance(value, dict) and value:
        return {name: _tag(part, layer) for name, part in value.items()}
    return layer


def _merge(value: Any, origin: Origin, patch: Any, layer: str) -> tuple[Any, Origin]:
    if not isinstance(patch, dict):
        return patch, layer
    merged = dict(value) if isinstance(value, dict) else {}
    origins = dict(origin) if isinstance(origin, dict) else {}
    for name, part in patch.items():
        if part is None:
            merged.pop(name, None)
            origins.pop(name, None)
        else:
            merged[name], origins[name] = _merge(merged.get(name), origins.get(name), part, layer)
    if merged:
        return merged, origins
    is_untouched = isinstance(value, dict) and not value
    return merged, origin if is_untouched else layer


def _pointers(origin: Origin, pointer: str) -> Iterator[tuple[str, str]]:
    if not isinstance(origin, dict):
        yield pointer, origin
        return
    for name, part in origin.items():
        yield from _pointers(part, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")
