"""Schema admin_api: what people define.

Written by admin-api alone; read by inventory, config-merger, live-query, log-shipper and analytics.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Index, Text, func
from sqlalchemy import text as sql
from sqlmodel import Field, SQLModel

from flotilla_common.db.models.columns import (
    OutboxRow,
    bigint,
    binary,
    computed_flag,
    computed_number,
    flag,
    identity,
    json_document,
    nullable_text,
    text,
    timestamp,
)

SCHEMA = "admin_api"


class AppConfig(SQLModel, table=True):
    """One row: the app config's stored part (admin API part 5.1) and the global agent options (None: cleared).

    `live_query_disabled` and those of query reports are what `document` says of them, for who may not read the rest;
    Postgres keeps them. `query_report_cap` 0 means the usual one.
    """

    __tablename__ = "app_config"
    __table_args__ = {"schema": SCHEMA}

    id: int = Field(default=1, sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    document: dict[str, Any] = json_document()
    agent_options: dict[str, Any] | None = json_document(nullable=True)
    updated_at: datetime = timestamp(now=True)
    live_query_disabled: bool | None = computed_flag(
        "(document #>> '{server_settings,live_query_disabled}') IS NOT DISTINCT FROM 'true'"
    )
    query_reports_disabled: bool | None = computed_flag(
        "(document #>> '{server_settings,query_reports_disabled}') IS NOT DISTINCT FROM 'true'"
    )
    query_report_cap: int | None = computed_number(
        "CASE jsonb_typeof(document #> '{server_settings,query_report_cap}') WHEN 'number' THEN"
        " least(greatest((document #>> '{server_settings,query_report_cap}')::numeric, 0), 1000000)::bigint ELSE 0 END"
    )


class Team(SQLModel, table=True):
    """The one group a host is in.

    `agent_options` null in SQL: no value, the global document applies; JSON null or {}: present and empty.
    `merge_mode`: `replace` (the team's document alone) or `merge` (RFC 7396 over the global one).
    """

    __tablename__ = "teams"
    __table_args__ = (Index("teams_name", func.lower(sql("name")), unique=True), {"schema": SCHEMA})

    id: int | None = identity()
    name: str = text()
    description: str = text()
    agent_options: Any = json_document(nullable=True)
    merge_mode: str = text("replace")
    document: dict[str, Any] = json_document()
    created_at: datetime = timestamp(now=True)
    updated_at: datetime = timestamp(now=True)


class EnrollSecret(SQLModel, table=True):
    """An enroll secret, encrypted; inventory finds it by `lookup_hash` (`contracts.secrets_at_rest`).

    It is good until `expires_at`, for `max_uses` enrolls (inventory counts them) and from `allowed_networks` (CIDR);
    null and an empty list mean without limit.
    """

    __tablename__ = "enroll_secrets"
    __table_args__ = {"schema": SCHEMA}

    id: int | None = identity()
    team_id: int | None = bigint(nullable=True, index=True)
    lookup_hash: bytes = binary(unique=True)
    ciphertext: bytes = binary()
    expires_at: datetime | None = timestamp(nullable=True)
    max_uses: int | None = bigint(nullable=True)
    allowed_networks: list[str] = json_document(default="[]")
    created_at: datetime = timestamp(now=True)


class User(SQLModel, table=True):
    """A person or a service that uses the API; a global role, or roles on teams."""

    __tablename__ = "users"
    __table_args__ = (Index("users_email", func.lower(sql("email")), unique=True), {"schema": SCHEMA})

    id: int | None = identity()
    name: str = text()
    email: str = text()
    password_hash: str | None = nullable_text()
    global_role: str | None = nullable_text()
    position: str = text()
    gravatar_url: str = text()
    api_only: bool = flag()
    sso_enabled: bool = flag()
    mfa_enabled: bool = flag()
    force_password_reset: bool = flag()
    settings: dict[str, Any] = json_document()
    created_at: datetime = timestamp(now=True)
    updated_at: datetime = timestamp(now=True)


class UserTeam(SQLModel, table=True):
    """A user's role on a team."""

    __tablename__ = "user_teams"
    __table_args__ = (Index("user_teams_team", "team_id"), {"schema": SCHEMA})

    user_id: int = bigint(primary_key=True)
    team_id: int = bigint(primary_key=True)
    role: str = text()


class LoginSession(SQLModel, table=True):
    """A login: only the token's SHA-256 is kept. `accessed_at` slides; API-only users' sessions do not expire."""

    __tablename__ = "sessions"
    __table_args__ = {"schema": SCHEMA}

    id: int | None = identity()
    user_id: int = bigint(index=True)
    token_hash: bytes = binary(unique=True)
    created_at: datetime = timestamp(now=True)
    accessed_at: datetime = timestamp(now=True)


class Label(SQLModel, table=True):
    """Hosts that a query selects (dynamic) or that people list (manual). Membership lives in schema inventory."""

    __tablename__ = "labels"
    __table_args__ = (Index("labels_name", func.lower(sql("name")), unique=True), {"schema": SCHEMA})

    id: int | None = identity()
    name: str = text()
    description: str = text()
    query: str = text()
    platform: str = text()
    label_type: str = text("regular")
    label_membership_type: str = text("dynamic")
    author_id: int | None = bigint(nullable=True)
    created_at: datetime = timestamp(now=True)
    updated_at: datetime = timestamp(now=True)


class Query(SQLModel, table=True):
    """SQL with a name; scheduled when `interval_seconds` > 0. Ad hoc live queries are kept with `saved` false.

    Results that came before `results_since` are not of this query any more: no report has them.
    """

    __tablename__ = "queries"
    __table_args__ = (
        Index(
            "queries_name",
            func.coalesce(sql("team_id"), sql("0")),
            func.lower(sql("name")),
            unique=True,
            postgresql_where=sql("saved"),
        ),
        {"schema": SCHEMA},
    )

    id: int | None = identity()
    team_id: int | None = bigint(nullable=True, index=True)
    name: str = text()
    description: str = text()
    query: str = text()
    interval_seconds: int = bigint(default=0)
    platform: str = text()
    min_osquery_version: str = text()
    logging: str = text("snapshot")
    automations_enabled: bool = flag()
    observer_can_run: bool = flag()
    discard_data: bool = flag()
    saved: bool = flag(default=True)
    author_id: int | None = bigint(nullable=True)
    author_name: str = text()
    author_email: str = text()
    created_at: datetime = timestamp(now=True)
    updated_at: datetime = timestamp(now=True)
    results_since: datetime = timestamp(now=True)


class QueryLabel(SQLModel, table=True):
    """A scheduled query goes only to hosts with at least one of its labels; without rows, to all."""

    __tablename__ = "query_labels"
    __table_args__ = (Index("query_labels_label", "label_id"), {"schema": SCHEMA})

    query_id: int = bigint(primary_key=True)
    label_id: int = bigint(primary_key=True)


class Activity(SQLModel, table=True):
    """Who did what. Names stay when the user is deleted."""

    __tablename__ = "activities"
    __table_args__ = {"schema": SCHEMA}

    id: int | None = identity()
    created_at: datetime = timestamp(now=True, index=True)
    actor_id: int | None = bigint(nullable=True)
    actor_full_name: str | None = nullable_text()
    actor_email: str | None = nullable_text()
    type: str = Field(sa_column=Column(Text, nullable=False))
    details: dict[str, Any] | None = json_document(nullable=True)
    fleet_initiated: bool = flag()
    source_event_id: str | None = Field(default=None, sa_column=Column(Text, nullable=True, unique=True))


class Outbox(OutboxRow, table=True):
    """Events about definitions that have not left yet."""

    __tablename__ = "outbox"
    __table_args__ = {"schema": SCHEMA}
