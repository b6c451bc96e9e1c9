"""Identities: two machines that enroll under one identifier, as clones of one image do.

Each enroll takes the row's key from the other machine, which then enrolls again, and so on for ever.
One change of machine is legal (a disk in a new computer, a system installed again). It is told from two living machines
by the flip-flop: a machine comes back while the one that took its place is alive. Another hardware serial shows that at
once; another instance, boot or address may be one machine that moves to and fro, so more returns are waited for.
The one that came later is the newcomer: it gets a row of its own, or is held.

osqueryd and orbit of a machine have a key each, and each is told apart by its own flip-flop: the second agent of a
machine that took another's place for good must not pass for a return. Once one agent is known to be a newcomer's, the
other one goes the same way, by the serial that both tell, or (orbit tells no more) by the address.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flotilla_common.contracts.hosts import HostChangedV1, HostIdentitySharedV1
from flotilla_common.db import outbox
from flotilla_common.db.models.inventory import Host
from sqlalchemy.ext.asyncio import AsyncSession

from inventory.domain.attempts import Agent, Attempt
from inventory.domain.facts import TEXT_LENGTH, Facts
from inventory.store import device_tokens, hosts, identity_claims, records, seen
from inventory.store.identity_claims import Claim

SEPARATE, HOLD = "separate", "hold"
ALIVE = timedelta(minutes=5)  # hosts poll every minute at least, and that is told every few seconds
REMEMBERED = timedelta(days=1)
EVIDENCE = ("hardware_serial", "instance_id", "boot_id", "address")
ONE_SERIAL = "one hardware_serial"  # only one of two orbits tells any
RETURNS = {"hardware_serial": 1, "instance_id": 2, "boot_id": 2, "address": 3, ONE_SERIAL: 3}
OF_MACHINE = ("hardware_serial", "instance_id")
FINGERPRINT_BYTES = 16
SUFFIX_DIGITS = 8
NO_ORBIT: dict[str, Any] = {
    "orbit_key_hash": None,
    "orbit_enrolled_at": None,
    "orbit_secret_id": None,
    "orbit_digest": None,
    "orbit_serial": "",
    "orbit_address": "",
}
"""What the row says of its orbit once that one left; a use that it made lets nobody else in."""


@dataclass(frozen=True)
class Machine:
    """What tells machines apart, as one of its agents tells it; empty where nothing was told."""

    hardware_serial: str = ""
    instance_id: str = ""
    boot_id: str = ""
    address: str = ""
    agent: Agent = Agent.OSQUERYD

    def difference(self, other: Machine) -> str:
        """Return the first member by which both certainly differ, an empty string when there is none.

        Orbits, which tell little, differ also when only one of them tells a serial.
        """
        for name in EVIDENCE:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine and theirs and mine != theirs:
                return name
        is_one = bool(self.hardware_serial) != bool(other.hardware_serial)
        return ONE_SERIAL if is_one and self.agent is Agent.ORBIT else ""

    def fingerprint(self, difference: str) -> bytes:
        """Return what this machine's agent is known by, among those that differ so."""
        parts = [self.hardware_serial, self.instance_id]
        if self.agent is not Agent.OSQUERYD:
            parts.insert(0, self.agent)
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
    serial, instance_id, boot_id, address = (str(told.get(name, "")) for name in names)
    return Machine(serial, instance_id, boot_id, address)


def machine_of_enrolling_orbit(attempt: Attempt) -> Machine:
    """Return the machine that an enrolling orbit tells of."""
    return Machine(hardware_serial=attempt.serial, address=attempt.address, agent=Agent.ORBIT)


def machine_of_orbit(before: Host) -> Machine:
    """Return the machine whose orbit has the row's orbit key; before there is one, that of its osqueryd."""
    serial, address = before.orbit_serial or before.hardware_serial, before.orbit_address or before.public_ip
    return Machine(hardware_serial=serial, address=address, agent=Agent.ORBIT)


async def newcomer(
    session: AsyncSession, before: Host, machine: Machine, *, decision: str, now: datetime
) -> bytes | None:
    """Return the fingerprint of a machine that must not get this row, None when the row is its own. The row is locked.

    Tells people when a row is found to be shared; once, whatever comes after.
    """
    host_id = before.id or 0
    if before.identity_shared:
        known = await _apart(session, before, machine, machine_of(before))
        if known is not None:
            await _part_from_orbit(session, before, machine, now)
            return known
    holder = machine_of_orbit(before) if machine.agent is Agent.ORBIT else machine_of(before)
    difference = machine.difference(holder)
    if not difference:
        return None
    if before.identity_shared and await _apart(session, before, holder, machine) is not None:
        return None
    mine, theirs = (_claim(host_id, each, difference) for each in (machine, holder))
    lives = now - await _last_sign(session, before, machine.agent) < ALIVE
    theirs_since = await identity_claims.keep(session, theirs, _holds_since(before, machine.agent), now)
    mine_since, returns = await identity_claims.enter(session, mine, now, other_lives=lives)
    if returns < RETURNS[difference]:
        return None
    late = mine if mine_since > theirs_since else theirs
    await identity_claims.set_apart(session, host_id, late.fingerprint)
    if not before.identity_shared:
        await hosts.mark_shared(session, host_id)
        await outbox.add(session, _event(before, late, difference, decision))
    if late is not mine:
        return None
    await _part_from_orbit(session, before, machine, now)
    return mine.fingerprint


async def _apart(session: AsyncSession, before: Host, machine: Machine, other: Machine) -> bytes | None:
    """Return the fingerprint by which a machine is known to be a newcomer, itself or by its other agent.

    The other agent tells as much when its serial is not that of the other machine, and to orbit also by its address.
    """
    host_id, fingerprints = before.id or 0, machine.fingerprints()
    if machine.hardware_serial and machine.hardware_serial != other.hardware_serial:
        return await identity_claims.apart(session, host_id, fingerprints, serial=machine.hardware_serial)
    if machine.difference(other) == "address" and machine.agent is Agent.ORBIT:
        return await identity_claims.apart(
            session, host_id, fingerprints, serial=machine.hardware_serial, address=machine.address
        )
    return await identity_claims.apart(session, host_id, fingerprints)


async def _part_from_orbit(session: AsyncSession, before: Host, machine: Machine, now: datetime) -> None:
    """Take the row's orbit key from the orbit of a newcomer whose osqueryd leaves: it enrolls again and follows."""
    of_newcomer = machine.hardware_serial and machine.hardware_serial == before.orbit_serial != before.hardware_serial
    if machine.agent is Agent.ORBIT or before.orbit_key_hash is None or not of_newcomer:
        return
    host_id = before.id or 0
    await hosts.change(session, [host_id], {**NO_ORBIT, "updated_at": now})
    await device_tokens.remove(session, [host_id])
    [record] = await records.of_ids(session, [host_id])
    await outbox.add(session, HostChangedV1(host=record, retired_key_hashes=(before.orbit_key_hash.hex(),)))


def own_identifier(identifier: str, fingerprint: bytes) -> str:
    """Return the identifier of a newcomer's own row."""
    return f"{identifier[: TEXT_LENGTH - SUFFIX_DIGITS - 1]}#{fingerprint.hex()[:SUFFIX_DIGITS]}"


def _claim(host_id: int, machine: Machine, difference: str) -> Claim:
    return Claim(host_id, machine.fingerprint(difference), machine.hardware_serial, machine.address)


def _holds_since(before: Host, agent: Agent) -> datetime:
    if agent is Agent.ORBIT and before.orbit_enrolled_at is not None:
        return before.orbit_enrolled_at
    return before.last_enrolled_at


async def _last_sign(session: AsyncSession, before: Host, agent: Agent) -> datetime:
    """Return when the holder was last heard of. Orbit's polls are no sign; it enrolls within one when it lost its key.

    Where orbit and osqueryd of a row are of two machines, osqueryd's sign counts for orbit: one of the two machines
    lives, and that it is the other one is shown by the return.
    """
    enrolled_at = _holds_since(before, agent)
    seen_at = await seen.last(session, before.id or 0)
    return enrolled_at if seen_at is None else max(seen_at, enrolled_at)


def _event(before: Host, late: Claim, difference: str, decision: str) -> HostIdentitySharedV1:
    return HostIdentitySharedV1(
        host_id=before.id or 0,
        decision=decision,
        differs="hardware_serial" if difference == ONE_SERIAL else difference,
        host_identifier=before.host_identifier,
        newcomer_serial=late.serial,
        newcomer_address=late.address,
    )
