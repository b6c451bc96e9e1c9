"""Enroll secrets: what lets a host in, and into which team. Encrypted at rest, with a keyed hash to look them up."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from flotilla_common.contracts.definitions import EnrollSecretsChangedV1
from flotilla_common.contracts.secrets_at_rest import enroll_secret_encryption_key, enroll_secret_lookup
from flotilla_common.db import outbox
from flotilla_common.db.models.admin_api import EnrollSecret, Team
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain.activities import record
from admin_api.domain.secret_limits import WantedSecret
from admin_api.domain.viewer import Viewer
from admin_api.errors import AlreadyExists, InvalidArgument
from admin_api.store import app_config
from admin_api.store import enroll_secrets as stored
from admin_api.store.json_columns import put

MOST = 50
MAX_LENGTH = 255
NONCE_BYTES = 12
MASK = "********"


@dataclass(frozen=True)
class PlainSecret:
    """A secret as people see it; masked, and without its limits, where they may not."""

    secret: str
    created_at: datetime
    team_id: int | None
    limits: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Overlap:
    """Until when secrets that a new set leaves out go on to work, and what time it is."""

    until: datetime
    now: datetime


def encrypt(key: bytes, secret: str) -> bytes:
    """Return nonce and AES-256-GCM ciphertext; the lookup hash is bound to it."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    cipher = AESGCM(enroll_secret_encryption_key(key))
    return nonce + cipher.encrypt(nonce, secret.encode(), enroll_secret_lookup(key, secret))


def decrypt(key: bytes, row: EnrollSecret) -> str:
    """Return the plain text of a stored secret."""
    nonce, sealed = row.ciphertext[:NONCE_BYTES], row.ciphertext[NONCE_BYTES:]
    return AESGCM(enroll_secret_encryption_key(key)).decrypt(nonce, sealed, row.lookup_hash).decode()


def reveal(
    key: bytes, rows: Iterable[EnrollSecret], uses: Mapping[int, int], *, masked: bool = False
) -> list[PlainSecret]:
    """Return stored secrets for people; `uses` by id, of those whose use is limited."""
    if masked:
        return [PlainSecret(MASK, row.created_at, row.team_id) for row in rows]
    return [PlainSecret(decrypt(key, row), row.created_at, row.team_id, limits_of(row, uses)) for row in rows]


def limits_of(row: EnrollSecret, uses: Mapping[int, int]) -> dict[str, object]:
    """Return the limits that a secret has, as people see them."""
    found: dict[str, object] = {}
    if row.expires_at is not None:
        found["expires_at"] = row.expires_at
    if row.max_uses is not None:
        found |= {"max_uses": row.max_uses, "uses": uses.get(row.id or 0, 0)}
    if row.allowed_networks:
        found["allowed_networks"] = row.allowed_networks
    return found


async def of_scope(session: AsyncSession, key: bytes, team_id: int | None) -> list[PlainSecret]:
    """Return a team's secrets (None: the global ones)."""
    rows = await stored.of_scope(session, team_id)
    return reveal(key, rows, await stored.uses(session, rows))


async def has_any(session: AsyncSession) -> bool:
    """Tell whether there is a global secret."""
    return bool(await stored.of_scope(session, None))


async def check(session: AsyncSession, key: bytes, team_id: int | None, wanted: Sequence[WantedSecret]) -> None:
    """Hold a new set of secrets to the rules.

    Raises:
        InvalidArgument: too many, an empty or too long one, or a mask.
        AlreadyExists: one is used by another scope.

    """
    if len(wanted) > MOST:
        raise InvalidArgument("secrets", "too many secrets")
    for secret in (entry.secret for entry in wanted):
        if not secret.strip() or secret == MASK:
            raise InvalidArgument("secrets", "enroll secret must not be empty")
        if len(secret) > MAX_LENGTH:
            raise InvalidArgument("secrets", f"enroll secret is longer than {MAX_LENGTH} characters")
        if "\x00" in secret:
            raise InvalidArgument("secrets", "enroll secret has a character that cannot be stored")
    taken = await stored.with_lookups(session, [enroll_secret_lookup(key, entry.secret) for entry in wanted])
    if any(row.team_id != team_id for row in taken):
        raise AlreadyExists("EnrollSecret", MASK)


async def replace(
    session: AsyncSession,
    key: bytes,
    team_id: int | None,
    wanted: Sequence[WantedSecret],
    overlap: Overlap | None = None,
) -> None:
    """Make these the secrets of a scope; those that stay keep their age and the limits that are not spoken of.

    The others stop to work, at once or at the end of the overlap; an earlier expiry of their own stands.

    Raises:
        InvalidArgument, AlreadyExists: see `check`.

    """
    if team_id is None:  # a team's row is locked by whoever changes its secrets; the global ones have the config's
        await app_config.get(session, lock=True)
    await check(session, key, team_id, wanted)
    by_lookup = {enroll_secret_lookup(key, entry.secret): entry for entry in wanted}
    present = {row.lookup_hash: row for row in await stored.of_scope(session, team_id)}
    left_out = [row for lookup, row in present.items() if lookup not in by_lookup]
    kept = [] if overlap is None else _keep_until(left_out, overlap)
    if len(by_lookup) + len(kept) > MOST:
        raise InvalidArgument("secrets", "too many secrets, with those that are still valid")
    await stored.remove(session, [row.id or 0 for row in left_out if row not in kept])
    for lookup, entry in by_lookup.items():
        row = present.get(lookup)
        if row is None:
            row = EnrollSecret(team_id=team_id, lookup_hash=lookup, ciphertext=encrypt(key, entry.secret))
            row.allowed_networks = []
        for name, value in entry.limits.items():
            put(row, name, value)
        await stored.add(session, row)
    await outbox.add(session, EnrollSecretsChangedV1(team_id=team_id))


def _keep_until(rows: Iterable[EnrollSecret], overlap: Overlap) -> list[EnrollSecret]:
    """Let secrets expire at the overlap's end at the latest; return those that are good for a while yet."""
    kept = []
    for row in rows:
        end = overlap.until if row.expires_at is None else min(row.expires_at, overlap.until)
        if end > overlap.now:
            row.expires_at = end
            kept.append(row)
    return kept


async def change(
    session: AsyncSession,
    viewer: Viewer,
    key: bytes,
    team: Team | None,
    wanted: Sequence[WantedSecret],
    overlap: Overlap | None = None,
) -> list[PlainSecret]:
    """Make these the secrets of a team (None: the global ones), on behalf of somebody; return them.

    Raises:
        InvalidArgument, AlreadyExists: see `check`.

    """
    team_id = None if team is None else team.id
    await replace(session, key, team_id, wanted, overlap)
    details = {"team_id": team_id, "team_name": None if team is None else team.name}
    await record(session, viewer, "edited_enroll_secrets", details)
    return await of_scope(session, key, team_id)


async def rehearse(session: AsyncSession, key: bytes, wanted: Sequence[WantedSecret]) -> None:
    """Check a new set of global secrets and leave it at that.

    Raises:
        InvalidArgument: see `check`; also for one that another scope uses.

    """
    try:
        await check(session, key, None, wanted)
    except AlreadyExists as error:
        raise InvalidArgument("secrets", "a provided global enroll secret is already being used") from error
