"""Schema config_merger: the classes of hosts and the newest plan of each. Written by config-merger alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from flotilla_common.db.models.columns import bigint, binary, json_document, text, timestamp

SCHEMA = "config_merger"


class Plan(SQLModel, table=True):
    """The plan of one class (team, platform, scope labels). `provenance` says which layer each leaf came from.

    `announced_revision`: the newest one known to be in bucket PLANS. `unused_since`: when no host was in it any more.
    """

    __tablename__ = "plans"
    __table_args__ = {"schema": SCHEMA}

    class_key: str = Field(sa_column=Column(Text, primary_key=True))
    team_id: int | None = bigint(nullable=True, index=True)
    platform: str = text()
    scope_labels: list[int] = Field(sa_column=Column(ARRAY(BigInteger), nullable=False, server_default="{}"))
    revision: int = bigint(default=0)
    config_sha256: str = text()
    config: bytes = binary()
    orbit_sha256: str = text()
    orbit: bytes | None = binary(nullable=True)
    provenance: dict[str, Any] = json_document()
    compiled_at: datetime = timestamp(now=True)
    announced_revision: int = bigint(default=0)
    unused_since: datetime | None = timestamp(nullable=True)
