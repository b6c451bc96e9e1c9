"""Schema inventory: hosts. Written by inventory alone; read by admin-api, live-query and analytics."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import BigInteger, Column, ColumnElement, Index, LargeBinary, Sequence, Text, and_, func, literal
from sqlalchemy import text as sql
from sqlmodel import Field, SQLModel, col

from flotilla_common.db.models.columns import OutboxRow, bigint, binary, identity, text, timestamp

SCHEMA = "inventory"
ONLINE_GRACE_SECONDS = 60

host_revision = Sequence("host_revision", schema=SCHEMA, metadata=SQLModel.metadata)
"""Revisions of host records: one sequence for all hosts, so that any two can be compared."""


class Host(SQLModel, table=True):
    """An enrolled host. Facts are whatever the host said, trimmed; they are hostile text for ever.

    `enroll_secret_id` and `enroll_digest` tell a copy of the last enroll from another use of a limited secret (null
    after an enroll with another one). `identity_shared`: other machines enroll under its identifier, see IdentityClaim.
    `orbit_serial` and `orbit_address` are of the machine whose orbit has the orbit key, as that orbit told them.
    """

    __tablename__ = "hosts"
    __table_args__ = (
        Index("hosts_identifier", func.lower(sql("host_identifier")), unique=True),
        Index("hosts_hostname", func.lower(sql("hostname"))),
        Index("hosts_uuid", func.lower(sql("uuid"))),
        Index("hosts_serial", func.lower(sql("hardware_serial"))),
        {"schema": SCHEMA},
    )

    id: int | None = identity()
    revision: int = bigint()
    host_identifier: str = text()
    node_key_hash: bytes | None = binary(unique=True, nullable=True)
    orbit_key_hash: bytes | None = binary(unique=True, nullable=True)
    team_id: int | None = bigint(nullable=True, index=True)
    platform: str = text()
    platform_like: str = text()
    hostname: str = text()
    computer_name: str = text()
    uuid: str = text()
    instance_id: str = text()
    hardware_serial: str = text()
    hardware_vendor: str = text()
    hardware_model: str = text()
    hardware_version: str = text()
    osquery_version: str = text()
    os_version: str = text()
    os_name: str = text()
    os_major: str = text()
    build: str = text()
    code_name: str = text()
    cpu_type: str = text()
    cpu_subtype: str = text()
    cpu_brand: str = text()
    cpu_physical_cores: int = bigint(default=0)
    cpu_logical_cores: int = bigint(default=0)
    memory_bytes: int = bigint(default=0)
    public_ip: str = text()
    primary_ip: str = text()
    primary_mac: str = text()
    distributed_interval_seconds: int = bigint(default=10)
    config_refresh_seconds: int = bigint(default=60)
    logger_tls_period_seconds: int = bigint(default=10)
    refetch_requested: bool = Field(default=True, sa_column_kwargs={"server_default": sql("true")})
    last_enrolled_at: datetime = timestamp()
    enroll_secret_id: int | None = bigint(nullable=True)
    enroll_digest: bytes | None = binary(nullable=True)
    boot_id: str = text()
    identity_shared: bool = Field(default=False, sa_column_kwargs={"server_default": sql("false")})
    orbit_enrolled_at: datetime | None = timestamp(nullable=True)
    orbit_secret_id: int | None = bigint(nullable=True)
    orbit_digest: bytes | None = binary(nullable=True)
    orbit_serial: str = text()
    orbit_address: str = text()
    use_left_for: str = text()
    detail_updated_at: datetime | None = timestamp(nullable=True)
    label_updated_at: datetime | None = timestamp(nullable=True)
    policy_updated_at: datetime | None = timestamp(nullable=True)
    created_at: datetime = timestamp(now=True)
    updated_at: datetime = timestamp(now=True)


class HostSeen(SQLModel, table=True):
    """When each host was last seen, and when lines of it last came. Narrow and apart, since it changes all the time."""

    __tablename__ = "host_seen"
    __table_args__ = {"schema": SCHEMA}

    host_id: int = bigint(primary_key=True)
    seen_at: datetime = timestamp(index=True)
    logged_at: datetime | None = timestamp(nullable=True)


class EnrollSecretUse(SQLModel, table=True):
    """How often an enroll secret that may be used a limited number of times was used (secrets: schema admin_api)."""

    __tablename__ = "enroll_secret_uses"
    __table_args__ = {"schema": SCHEMA}

    secret_id: int = bigint(primary_key=True)
    uses: int = bigint()
    last_used_at: datetime = timestamp()


class EnrollRefusal(SQLModel, table=True):
    """When it was last told that a secret was refused for a reason: a flood of such enrolls is told once an hour."""

    __tablename__ = "enroll_refusals"
    __table_args__ = {"schema": SCHEMA}

    secret_id: int = bigint(primary_key=True)
    reason: str = Field(sa_column=Column(Text, primary_key=True))
    told_at: datetime = timestamp()


class IdentityClaim(SQLModel, table=True):
    """A machine that enrolled under an identifier which another machine enrolled under as well.

    Kept for the host that has the identifier. `returns` counts how often the machine came back while the other one was
    alive; `apart`: it is known to be another machine, and no longer gets that host's row.
    """

    __tablename__ = "identity_claims"
    __table_args__ = (Index("identity_claims_last", "last_enrolled_at"), {"schema": SCHEMA})

    host_id: int = bigint(primary_key=True)
    fingerprint: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))
    first_enrolled_at: datetime = timestamp()
    last_enrolled_at: datetime = timestamp()
    returns: int = bigint(default=0)
    apart: bool = Field(default=False, sa_column_kwargs={"server_default": sql("false")})
    serial: str = text()
    address: str = text()


class DeviceToken(SQLModel, table=True):
    """A host's device token, hashed, and since when it has this value: it is good for an hour from then."""

    __tablename__ = "device_tokens"
    __table_args__ = {"schema": SCHEMA}

    host_id: int = bigint(primary_key=True)
    token_hash: bytes = binary(unique=True)
    revision: int = bigint()
    set_at: datetime = timestamp()


class LabelMembership(SQLModel, table=True):
    """Which hosts are in which label (definitions of labels live in schema admin_api)."""

    __tablename__ = "label_membership"
    __table_args__ = (Index("label_membership_host", "host_id"), {"schema": SCHEMA})

    label_id: int = bigint(primary_key=True)
    host_id: int = bigint(primary_key=True)
    created_at: datetime = timestamp(now=True)


class ScopeLabel(SQLModel, table=True):
    """A label that scopes at least one query, so that it is part of its hosts' class."""

    __tablename__ = "scope_labels"
    __table_args__ = {"schema": SCHEMA}

    label_id: int = bigint(primary_key=True)


class ScopeState(SQLModel, table=True):
    """One row: since which host revision the present set of scope labels is in force."""

    __tablename__ = "scope_state"
    __table_args__ = {"schema": SCHEMA}

    id: int = Field(default=1, sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    revision: int = bigint(default=0)


class Outbox(OutboxRow, table=True):
    """Events about hosts that have not left yet."""

    __tablename__ = "outbox"
    __table_args__ = {"schema": SCHEMA}


def online_clause(now: datetime) -> ColumnElement[bool]:
    """Return the one online rule: `seen_at + min(distributed_interval, config_refresh) + 60 s > now`.

    For statements that select from Host, outer joined with HostSeen: a host without a row counts as seen when it was
    created. Everything else is offline (admin API part 9.4).
    """
    window = func.least(col(Host.distributed_interval_seconds), col(Host.config_refresh_seconds)) + ONLINE_GRACE_SECONDS
    seen_at = func.coalesce(col(HostSeen.seen_at), col(Host.created_at))
    online: ColumnElement[bool] = seen_at + func.make_interval(0, 0, 0, 0, 0, 0, window) > literal(now)
    return online


def log_gap_clause(now: datetime, longest: timedelta) -> ColumnElement[bool]:
    """Return the rule of a gap: the host is online, and no line of it came for longer than `longest`.

    For the same statements. A host of which no line ever came has a gap when it enrolled longer ago.
    """
    last = func.coalesce(col(HostSeen.logged_at), col(Host.created_at))
    return and_(online_clause(now), last < literal(now - longest))
