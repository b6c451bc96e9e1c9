"""Which machines enrolled under the identifier of a host, where there was more than one. The host's row is locked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flotilla_common.db.models.inventory import IdentityClaim
from sqlalchemy import and_, case, delete, false, literal, or_, select, true, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from inventory.store.arrays import is_any_of

_host, _fingerprint = col(IdentityClaim.host_id), col(IdentityClaim.fingerprint)


@dataclass(frozen=True)
class Claim:
    """One machine, as it is told from others."""

    host_id: int
    fingerprint: bytes
    serial: str
    address: str


async def apart(
    session: AsyncSession, host_id: int, fingerprints: Sequence[bytes], *, serial: str | None = None, address: str = ""
) -> bytes | None:
    """Return the fingerprint under which a machine is known to be another one than the host's.

    It is one of these fingerprints, or else that of a machine with this serial, and this address when there is one.
    """
    is_its_own = _fingerprint.in_(fingerprints)
    has_address = col(IdentityClaim.address) == address if address else true()
    is_other_agent = false() if serial is None else and_(col(IdentityClaim.serial) == serial, has_address)
    statement = (
        select(_fingerprint)
        .where(_host == host_id, or_(is_its_own, is_other_agent), col(IdentityClaim.apart).is_(True))
        .order_by(is_its_own.desc(), col(IdentityClaim.first_enrolled_at))
        .limit(1)
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def keep(session: AsyncSession, claim: Claim, since: datetime, now: datetime) -> datetime:
    """Remember a machine that has had the row since then and loses it now; return since when it is known.

    However long ago it enrolled: forgotten before it comes back, it would be the one that came later.
    """
    row = _row(claim, since, now)
    statement = row.on_conflict_do_update(
        index_elements=["host_id", "fingerprint"], set_={"serial": row.excluded.serial, "last_enrolled_at": now}
    ).returning(col(IdentityClaim.first_enrolled_at))
    return (await session.execute(statement)).scalar_one()


async def enter(session: AsyncSession, claim: Claim, now: datetime, *, other_lives: bool) -> tuple[datetime, int]:
    """Note that a machine takes the row from another one; return since when it is known and how often it came back.

    Coming back counts while the other one lives; otherwise the count begins anew.
    """
    row = _row(claim, now, now)
    returns = case((literal(other_lives), col(IdentityClaim.returns) + 1), else_=0)
    statement = row.on_conflict_do_update(
        index_elements=["host_id", "fingerprint"],
        set_={"last_enrolled_at": now, "returns": returns, "address": row.excluded.address},
    ).returning(col(IdentityClaim.first_enrolled_at), col(IdentityClaim.returns))
    entered = (await session.execute(statement)).one()
    return entered.first_enrolled_at, int(entered.returns)


async def set_apart(session: AsyncSession, host_id: int, fingerprint: bytes) -> None:
    """Know a machine to be another one than the host's from now on."""
    await session.execute(update(IdentityClaim).where(_host == host_id, _fingerprint == fingerprint).values(apart=True))


async def remove_hosts(session: AsyncSession, host_ids: Sequence[int]) -> None:
    """Forget all machines of locked hosts."""
    await session.execute(delete(IdentityClaim).where(is_any_of(_host, host_ids)))


async def forget_before(session: AsyncSession, moment: datetime) -> None:
    """Forget machines that have not enrolled since, other than those known to be apart."""
    old = col(IdentityClaim.last_enrolled_at) < moment
    await session.execute(delete(IdentityClaim).where(old, col(IdentityClaim.apart).is_(False)))


def _row(claim: Claim, since: datetime, now: datetime) -> Insert:
    return insert(IdentityClaim).values(
        host_id=claim.host_id,
        fingerprint=claim.fingerprint,
        first_enrolled_at=since,
        last_enrolled_at=now,
        serial=claim.serial,
        address=claim.address,
    )
