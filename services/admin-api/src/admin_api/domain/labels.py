"""Labels: made, changed and removed by people. Built-in ones belong to the server."""

from __future__ import annotations

from datetime import datetime

from flotilla_common.contracts.definitions import LabelChangedV1
from flotilla_common.contracts.labels import BUILTIN_LABELS
from flotilla_common.db import outbox
from flotilla_common.db.models.admin_api import Label
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain import names
from admin_api.domain.viewer import Viewer
from admin_api.errors import AlreadyExists, InvalidArgument, Missing
from admin_api.store import labels, queries

DYNAMIC = "dynamic"
MANUAL = "manual"
BUILTIN = "builtin"
_BUILTIN_NAMES = {label.name.lower(): label.name for label in BUILTIN_LABELS}


async def find(session: AsyncSession, label_id: int) -> Label:
    """Return a label.

    Raises:
        Missing: there is none with this id.

    """
    label = await labels.by_id(session, label_id)
    if label is None:
        raise Missing("Label", label_id)
    return label


async def find_by_name(session: AsyncSession, name: str) -> Label:
    """Return a label.

    Raises:
        Missing: there is none of this name.

    """
    label = await labels.by_name(session, name)
    if label is None:
        raise Missing("Label", name)
    return label


async def create(
    session: AsyncSession,
    viewer: Viewer,
    name: str,
    *,
    description: str = "",
    query: str = "",
    platform: str = "",
    membership: str | None = None,
) -> Label:
    """Store a label: manual when it has no query, unless `membership` says otherwise.

    Raises:
        InvalidArgument: there is no name, or it is a built-in label's.
        AlreadyExists: the name is taken.

    """
    await _check_name(session, name, None)
    label = Label(
        name=name,
        description=description,
        query=query,
        platform=platform,
        label_membership_type=membership or (DYNAMIC if query.strip() else MANUAL),
        author_id=viewer.user_id,
    )
    session.add(label)
    await _announce(session, label)
    return label


async def _check_name(session: AsyncSession, name: str, own_id: int | None) -> None:
    if not name.strip():
        raise InvalidArgument("name", "missing required argument")
    names.check_length("name", name)
    builtin = _BUILTIN_NAMES.get(name.lower())
    if builtin is not None:
        text = f"cannot add label '{builtin}' because it conflicts with the name of a built-in label"
        raise InvalidArgument("name", text)
    other = await labels.by_name(session, name)
    if other is not None and other.id != own_id:
        raise AlreadyExists("Label", name)


async def _announce(session: AsyncSession, label: Label) -> None:
    await session.flush()
    await session.refresh(label)
    await outbox.add(session, LabelChangedV1(label_id=label.id or 0))


async def rename(
    session: AsyncSession, label: Label, name: str | None, description: str | None, *, now: datetime
) -> None:
    """Change the words about a label; None leaves them.

    Raises:
        InvalidArgument: it is a built-in one, or the new name is one of theirs.
        AlreadyExists: the new name is taken.

    """
    if label.label_type == BUILTIN:
        raise InvalidArgument("label_type", f"cannot modify built-in label '{label.name}'")
    if name is not None and name != label.name:
        await _check_name(session, name, label.id)
        label.name = name
    if description is not None:
        label.description = description
    label.updated_at = now
    await _announce(session, label)


async def redefine(session: AsyncSession, label: Label, query: str, platform: str, *, now: datetime) -> None:
    """Change what a dynamic label asks; inventory drops its members when it hears of that."""
    label.query = query
    label.platform = platform
    label.updated_at = now
    await _announce(session, label)


async def remove(session: AsyncSession, label: Label) -> None:
    """Delete a label; inventory drops its members when it hears of that.

    Raises:
        InvalidArgument: it is a built-in one, or a query is scoped by it.
        Missing: somebody else removed it meanwhile.

    """
    if label.label_type == BUILTIN:
        raise InvalidArgument("label_type", f"cannot delete built-in label '{label.name}'")
    label_id = label.id or 0
    # Those who scope a query lock its labels too: either they see that this one is gone, or we see their query.
    if not await labels.lock(session, label):
        raise Missing("Label", label_id)
    if await queries.using_label(session, label_id):
        raise InvalidArgument("name", f"foreign key constraint on labels: {label.name}")
    await session.delete(label)
    await outbox.add(session, LabelChangedV1(label_id=label_id, deleted=True))
