"""Limits of an enroll secret as people state them: until when, how often, from where (not in Fleet).

What is left out stays as it is, so that a tool which knows nothing of limits lifts none; null lifts one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_network

from pydantic import BaseModel

from admin_api.errors import InvalidArgument

MOST_NETWORKS = 64
MOST_USES = 2**63 - 1
NAMES = frozenset({"expires_at", "max_uses", "allowed_networks"})


@dataclass(frozen=True)
class WantedSecret:
    """A secret that a set shall have; `limits`: column -> value, those that were stated."""

    secret: str
    limits: Mapping[str, object] = field(default_factory=dict)


def wanted(body: BaseModel) -> WantedSecret:
    """Return what a body with the members `secret` and NAMES states.

    Raises:
        InvalidArgument: a limit makes no sense.

    """
    stated = body.model_dump(include={"secret", *(NAMES & body.model_fields_set)})
    secret = stated.pop("secret")
    return WantedSecret(secret, {name: _limit(name, value) for name, value in stated.items()})


def moment(name: str, text: str) -> datetime:
    """Return a moment.

    Raises:
        InvalidArgument: it is none, or says no zone.

    """
    wrong = InvalidArgument(name, "must be a time with its zone, such as 2026-12-31T18:00:00Z")
    try:
        value = datetime.fromisoformat(text)
        if value.tzinfo is None:
            raise wrong
        return value.astimezone(UTC)
    except (ValueError, OverflowError):
        raise wrong from None


def _limit(name: str, value: object) -> object:
    if isinstance(value, str):
        return moment(name, value)
    if isinstance(value, int):
        return _uses(value)
    if name == "allowed_networks":
        return _networks(value if isinstance(value, list) else [])
    return value


def _uses(value: int) -> int:
    if not 0 < value <= MOST_USES:
        raise InvalidArgument("max_uses", "must be greater than 0; null lifts the limit")
    return value


def _networks(texts: Collection[str]) -> list[str]:
    if len(texts) > MOST_NETWORKS:
        raise InvalidArgument("allowed_networks", f"too many networks, {MOST_NETWORKS} at most")
    try:
        return [str(ip_network(text.strip(), strict=False)) for text in texts]
    except ValueError as error:
        raise InvalidArgument("allowed_networks", "must be networks such as 192.0.2.0/24 or 2001:db8::/32") from error
