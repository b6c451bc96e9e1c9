"""What inventory knows of hosts, for filters: platforms and labels. Reads `inventory.hosts` and `label_membership`."""

from __future__ import annotations

from collections.abc import Collection

from flotilla_common.db.models.inventory import Host, LabelMembership
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

MOST_AT_ONCE = 10_000  # ids of one statement


async def platforms(session: AsyncSession, hosts: Collection[int]) -> dict[int, str]:
    """Return host id -> platform of those that exist."""
    found: dict[int, str] = {}
    for some in _pieces(hosts):
        rows = await session.execute(select(col(Host.id), col(Host.platform)).where(col(Host.id).in_(some)))
        found |= {int(row[0] or 0): row[1] for row in rows}
    return found


async def labelled(session: AsyncSession, hosts: Collection[int], labels: Collection[int]) -> frozenset[int]:
    """Return those hosts that have one of the labels."""
    found: set[int] = set()
    for some in _pieces(hosts):
        rows = await session.execute(
            select(col(LabelMembership.host_id)).where(
                col(LabelMembership.host_id).in_(some), col(LabelMembership.label_id).in_(labels)
            )
        )
        found |= set(rows.scalars())
    return frozenset(found)


def _pieces(hosts: Collection[int]) -> list[list[int]]:
    ids = sorted(set(hosts))
    return [ids[start : start + MOST_AT_ONCE] for start in range(0, len(ids), MOST_AT_ONCE)]
