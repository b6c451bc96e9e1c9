"""Bucket PLANS: what each class of hosts gets. Written by config-merger alone.

Keys: `head.<class key>` -> PlanHead as JSON; `config.<sha256>` -> the osquery config's exact bytes;
`orbit.<sha256>` -> an OrbitPlan as JSON.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any, ClassVar

from flotilla_common.contracts.base import Answer, Message, Request

BUCKET = "PLANS"


def class_key(team_id: int | None, platform: str, scope_labels: tuple[int, ...]) -> str:
    """Return the key of a class of hosts: 32 hexadecimal digits of a hash, since a platform is whatever a host says."""
    canonical = json.dumps([team_id, platform, sorted(scope_labels)], separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def head_key(key: str) -> str:
    """Return the bucket key of a class's head."""
    return f"head.{key}"


def config_key(sha256: str) -> str:
    """Return the bucket key of config bytes."""
    return f"config.{sha256}"


def orbit_key(sha256: str) -> str:
    """Return the bucket key of what orbit and the desktop get."""
    return f"orbit.{sha256}"


class OrbitPlan(Message):
    """What orbit and the desktop application of a class get.

    `config` is the answer to `orbit/config`, `desktop` the one to the device API's `desktop`, both as they are sent.
    """

    config: dict[str, Any]
    desktop: dict[str, Any]
    transparency_url: str


class PlanHead(Answer):
    """The newest plan of a class. A holder of a higher `revision` ignores this one.

    The intervals are those that its config sets, None where it leaves the host's own in force. They depend on team and
    platform alone. `label_queries_sha256` and `policy_queries_sha256` are None while the class has no such queries:
    then no host of it is asked any, and what one sends under such a name is nobody's answer. `orbit_sha256` is empty in
    heads that were made before there were such plans.
    """

    class_key: str
    team_id: int | None
    platform: str
    scope_labels: tuple[int, ...]
    revision: int
    config_sha256: str
    etag: str
    compiled_at: datetime
    orbit_sha256: str = ""
    distributed_interval_seconds: int | None = None
    config_refresh_seconds: int | None = None
    logger_tls_period_seconds: int | None = None
    label_queries_sha256: str | None = None
    policy_queries_sha256: str | None = None


class RenderPlanV1(Request[PlanHead]):
    """Compile the plan of a class that no host had before."""

    subject: ClassVar[str] = "config_merger.render_plan.v1"
    answer: ClassVar[type[Answer]] = PlanHead

    team_id: int | None
    platform: str
    scope_labels: tuple[int, ...] = ()
