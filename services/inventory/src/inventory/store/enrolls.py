"""What an enroll writes: the host's row, its built-in labels and when it was seen, all in one statement.

Every change takes the row's lock first and its revision after it (`store/hosts.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from flotilla_common.db.models.inventory import Host, HostSeen, LabelMembership, host_revision
from sqlalchemy import CTE, delete, func, literal, select
from sqlalchemy import update as sql_update
from sqlalchemy.dialects.postgresql import insert as sql_insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from inventory.store.arrays import id_array, is_any_of
from inventory.store.hosts import Values

BY_DEFAULT = {"refetch_requested": True, "identity_shared": False}
"""Columns whose defaults stand in the class of the table, which a statement inside another one does not know."""

_label, _member = col(LabelMembership.label_id), col(LabelMembership.host_id)


@dataclass(frozen=True)
class Labelling:
    """Labels that a host is a member of from now on, and those of which it is none (`instead_of`)."""

    labels: Collection[int]
    instead_of: Collection[int] = ()


async def insert(
    session: AsyncSession, identifier: str, values: Values, labelling: Labelling | None, seen_at: datetime | None
) -> int | None:
    """Insert a host and return its id; None when another transaction has just inserted that identifier."""
    host = (
        sql_insert(Host)
        .values(host_identifier=identifier, revision=host_revision.next_value(), **{**BY_DEFAULT, **values})
        .on_conflict_do_nothing()
        .returning(col(Host.id))
        .cte("host")
    )
    statement = select(host.c.id).add_cte(*_beside(host, labelling, seen_at))
    return (await session.execute(statement)).scalar_one_or_none()


async def update(
    session: AsyncSession, host_id: int, values: Values, labelling: Labelling | None, seen_at: datetime | None
) -> None:
    """Change a locked row and give it a new revision. The row that `find_for_update` returned stays as it was."""
    host = (
        sql_update(Host)
        .where(col(Host.id) == host_id)
        .values(revision=host_revision.next_value(), **values)
        .returning(col(Host.id))
        .cte("host")
    )
    await session.execute(select(host.c.id).add_cte(*_beside(host, labelling, seen_at)))


def _beside(host: CTE, labelling: Labelling | None, seen_at: datetime | None) -> list[CTE]:
    """Return what is written for the row that the statement writes, if it does."""
    written = [] if labelling is None else _labelled(host, labelling)
    return written if seen_at is None else [*written, _seen(host, seen_at)]


def _labelled(host: CTE, labelling: Labelling) -> list[CTE]:
    members = select(func.unnest(id_array(sorted(labelling.labels))), host.c.id)
    joined = sql_insert(LabelMembership).from_select(["label_id", "host_id"], members).on_conflict_do_nothing()
    ctes = [joined.returning(_label).cte("joined")]
    if labelling.instead_of:
        left = delete(LabelMembership).where(_member == host.c.id, is_any_of(_label, sorted(labelling.instead_of)))
        ctes.append(left.returning(_label).cte("left_labels"))
    return ctes


def _seen(host: CTE, seen_at: datetime) -> CTE:
    row = sql_insert(HostSeen).from_select(["host_id", "seen_at"], select(host.c.id, literal(seen_at)))
    newest = func.greatest(col(HostSeen.seen_at), row.excluded.seen_at)
    return (
        row.on_conflict_do_update(index_elements=["host_id"], set_={"seen_at": newest})
        .returning(col(HostSeen.host_id))
        .cte("seen")
    )
