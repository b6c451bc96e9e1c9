"""The row of an enrolling host: found, made or changed, its secret used, gateways told. The same for both agents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flotilla_common.contracts.hosts import HostEnrolledV1, HostRecord
from flotilla_common.db import outbox
from flotilla_common.db.models.inventory import Host
from sqlalchemy.ext.asyncio import AsyncSession

from inventory.domain import admission, identities
from inventory.domain.admission import Use
from inventory.domain.attempts import Agent, Attempt
from inventory.domain.identities import HOLD, Machine
from inventory.errors import Overtaken
from inventory.store import enrolls, hosts, records
from inventory.store.enroll_secrets import FoundSecret
from inventory.store.enrolls import Labelling

ATTEMPTS = 10  # each one lost to a delete of the same host between two statements


@dataclass(frozen=True)
class Place:
    """Where a host belongs: under an identifier, in the row that was there before, which is locked, or in a new one."""

    identifier: str
    before: Host | None


@dataclass(frozen=True)
class Changes:
    """What an enroll writes: columns of the row, its built-in labels and when it was seen (None: nothing of that)."""

    values: Mapping[str, Any]
    labelling: Labelling | None
    seen_at: datetime | None = None


async def find_place(
    session: AsyncSession, identifier: str, attempt: Attempt, machine: Machine, same_identity: str
) -> Place | None:
    """Find where the host belongs. None: the row is another machine's, and this one is held.

    Two enrolls of one identifier may run at once: one inserts, the other waits for it, then finds its row. The one
    asked last wins.

    Raises:
        Overtaken: the agent has asked again since.

    """
    for _ in range(ATTEMPTS):
        before = await hosts.find_for_update(session, identifier)
        if before is None:
            return Place(identifier, None)
        stranger = await identities.newcomer(session, before, machine, decision=same_identity, now=attempt.now)
        if stranger is None:
            _check_order(before, attempt)
            return Place(identifier, before)
        if same_identity == HOLD:
            return None
        identifier = identities.own_identifier(before.host_identifier, stranger)
    raise lost(attempt)


async def write(
    session: AsyncSession, attempt: Attempt, secret: FoundSecret, place: Place, changes: Changes
) -> HostRecord | None:
    """Write a host's row and return its record; None when another enroll has just made the row: look again.

    Raises:
        EnrollSecretUsedUp: the secret does not let in so many.

    """
    before, use = place.before, admission.use_of(place.before, secret, attempt)
    values = {**changes.values, "updated_at": attempt.now, **admission.leaves(use, attempt)}
    if before is None:
        host_id = await enrolls.insert(session, place.identifier, values, changes.labelling, changes.seen_at)
    else:
        host_id = before.id
        await enrolls.update(session, before.id or 0, values, changes.labelling, changes.seen_at)
    if host_id is None:
        return None
    if use is Use.ANOTHER:
        await admission.spend(session, secret, attempt)
    [record] = await records.of_ids(session, [host_id])
    await outbox.add(session, _event(record, before, attempt.agent))
    return record


def lost(attempt: Attempt) -> Overtaken:
    """Return the error of an enroll that was not the first, ATTEMPTS times."""
    return Overtaken(f"{attempt.identifier} is being deleted and enrolled again all the time")


def _check_order(before: Host, attempt: Attempt) -> None:
    last = before.orbit_enrolled_at if attempt.agent is Agent.ORBIT else before.last_enrolled_at
    if last is not None and attempt.asked_at < last:
        raise Overtaken(f"the {attempt.agent} of this host has asked again since, and has its key")


def _event(record: HostRecord, before: Host | None, agent: Agent) -> HostEnrolledV1:
    key_hash = None if before is None else before.orbit_key_hash if agent is Agent.ORBIT else before.node_key_hash
    retired = () if key_hash is None else (key_hash.hex(),)
    return HostEnrolledV1(host=record, first_time=before is None, retired_key_hashes=retired)
