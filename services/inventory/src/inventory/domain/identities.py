"""Identities: two machines that enroll under one identifier, as clones of one image do.

Each enroll takes the row, and with it the key, from the other machine, which then enrolls again, and so on for ever.
One change of machine is legal (a disk in a new computer, a system installed again). It is told from two living machines
by the flip-flop: a machine comes back while the one that took its place is alive. Another hardware serial shows that at
once; another instance, boot or address may be one machine that moves to and fro, so more returns are waited for.
The one that came later is the newcomer: it gets a row of its own, or is held.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flotilla_common.contracts.hosts import HostIdentitySharedV1
from flotilla_common.db import outbox
from flotilla_common.db.models.inventory import Host
from sqlalchemy.ext.asyncio import AsyncSession

from inventory.domain.facts import TEXT_LENGTH, Facts
from inventory.store import hosts, identity_claims, seen
from inventory.store.identity_claims import Claim

SEPARATE, HOLD = "separate", "hold"
ALIVE = timedelta(minutes=5)  # hosts poll every minute at least, and that is told every few seconds
REMEMBERED = timedelta(days=1)
RETURNS = {"hardware_serial": 1, "instance_id": 2, "boot_id": 2, "address": 3}
OF_MACHINE = ("hardware_serial", "instance_id")
FINGERPRINT_BYTES = 16
SUFFIX_DIGITS = 8


@dataclass(frozen=True)
class Machine:
    """What tells machines apart; empty where nothing was told."""

    hardware_serial: str = ""
    instance_id: str = ""
    boot_id: str = ""
    address: str = ""

    def difference(self, other: Machine) -> str:
        """Return the first member by which both certainly differ, an empty string when there is none."""
        for name in RETURNS:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine and theirs and mine != theirs:
                return name
        return ""

    def fingerprint(self, difference: str) -> bytes:
        """Return what this machine is known by, among those that differ so."""
        parts = [self.hardware_serial, self.instance_id]
        if difference not in OF_MACHINE:
            parts += [self.boot_id, self.address]
        return hashlib.sha256("\0".join(parts).encode()).digest()[:FINGERPRINT_BYTES]

    def fingerprints(self) -> list[bytes]:
        """Return all that it may be known by."""
        return [self.fingerprint("hardware_serial"), self.fingerprint("address")]


def machine_of(facts: Facts | Host) -> Machine:
    """Return the machine that facts, or a row, tell of."""
    told: dict[str, Any] = facts if isinstance(facts, dict) else facts.model_dump()
    names = ("hardware_serial", "instance_id", "boot_id", "public_ip")
    return Machine(*(str(told.get(name, "")) for name in names))


async def newcomer(session: AsyncSession, before: Host, facts: Facts, *, decision: str, now: datetime) -> bytes | None:
    """Return the fingerprint of a machine that must not get this row, None when the row is its own. The row is locked.

    Tells people when a row is found to be shared; once, whatever comes after.
    """
    host_id, machine = before.id or 0, machine_of(facts)
    if before.identity_shared:
        known = await identity_claims.apart(session, host_id, machine.fingerprints())
        if known is not None:
            return known
    holder = machine_of(before)
    difference = machine.difference(holder)
    if not difference:
        return None
    mine, theirs = (_claim(host_id, each, difference) for each in (machine, holder))
    lives = now - await _last_sign(session, before) < ALIVE
    theirs_since = await identity_claims.keep(session, theirs, before.last_enrolled_at)
    mine_since, returns = await identity_claims.enter(session, mine, now, other_lives=lives)
    if returns < RETURNS[difference]:
        return None
    late = mine if mine_since > theirs_since else theirs
    await identity_claims.set_apart(session, host_id, late.fingerprint)
    if not before.identity_shared:
        await hosts.mark_shared(session, host_id)
        await outbox.add(session, _event(before, late, difference, decision))
    return late.fingerprint if late is mine else None


def own_identifier(identifier: str, fingerprint: bytes) -> str:
    """Return the identifier of a newcomer's own row."""
    return f"{identifier[: TEXT_LENGTH - SUFFIX_DIGITS - 1]}#{fingerprint.hex()[:SUFFIX_DIGITS]}"


def _claim(host_id: int, machine: Machine, difference: str) -> Claim:
    return Claim(host_id, machine.fingerprint(difference), machine.hardware_serial, machine.address)


async def _last_sign(session: AsyncSession, before: Host) -> datetime:
    seen_at = await seen.last(session, before.id or 0)
    return before.last_enrolled_at if seen_at is None else max(seen_at, before.last_enrolled_at)


def _event(before: Host, late: Claim, difference: str, decision: str) -> HostIdentitySharedV1:
    return HostIdentitySharedV1(
        host_id=before.id or 0,
        decision=decision,
        differs=difference,
        host_identifier=before.host_identifier,
        newcomer_serial=late.serial,
        newcomer_address=late.address,
    )
