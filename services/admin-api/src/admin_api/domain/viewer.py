"""Who is asking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Viewer:
    """A logged-in user: either one global role, or one role on each of several teams (id -> role)."""

    user_id: int
    name: str
    email: str
    global_role: str | None = None
    team_roles: Mapping[int, str] = field(default_factory=dict)
    session_id: int = 0
    api_only: bool = False
    must_reset_password: bool = False
