"""Label specs: what `get labels` prints and `apply` takes back (admin API part 10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flotilla_common.db.models.admin_api import Label
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain import labels
from admin_api.domain.labels import BUILTIN, DYNAMIC, MANUAL
from admin_api.domain.viewer import Viewer
from admin_api.errors import InvalidArgument
from admin_api.store import labels as label_store


@dataclass(frozen=True)
class LabelSpec:
    """One entry; `hosts` None means that the key is not there."""

    name: str
    description: str = ""
    query: str = ""
    platform: str = ""
    label_type: str = "regular"
    membership: str = ""
    hosts: Sequence[str] | None = None


def spec_object(label: Label, hosts: Sequence[str] | None) -> dict[str, Any]:
    """Return a label in the form that can be applied again."""
    return {
        "id": label.id,
        "name": label.name,
        "description": label.description,
        "query": label.query,
        "platform": label.platform,
        "label_type": label.label_type,
        "label_membership_type": label.label_membership_type,
        **({} if hosts is None else {"hosts": list(hosts)}),
    }


async def apply(session: AsyncSession, viewer: Viewer, spec: LabelSpec, *, now: datetime) -> Label:
    """Create or change the label of this name; members of manual ones are the caller's next step.

    Raises:
        InvalidArgument: the entry contradicts itself, or changes what cannot be changed.

    """
    if not spec.name.strip():
        raise InvalidArgument("name", "missing required argument")
    known = await label_store.by_name(session, spec.name)
    if spec.label_type == BUILTIN or (known is not None and known.label_type == BUILTIN):
        return _unchanged(spec, known)
    membership = spec.membership or DYNAMIC
    _check_membership(spec, membership)
    if known is None:
        return await labels.create(
            session,
            viewer,
            spec.name,
            description=spec.description,
            query=spec.query,
            platform=spec.platform,
            membership=membership,
        )
    await _change(session, known, spec, membership, now)
    return known


def _unchanged(spec: LabelSpec, known: Label | None) -> Label:
    if known is None or known.label_type != BUILTIN:
        raise InvalidArgument("label_type", f"cannot modify or add built-in label '{spec.name}'")
    same = (
        spec.label_type == BUILTIN
        and (spec.name, spec.description, spec.query, spec.platform)
        == (known.name, known.description, known.query, known.platform)
        and spec.membership in {"", known.label_membership_type}
    )
    if not same:
        raise InvalidArgument("label_type", f"cannot modify built-in label '{known.name}'")
    return known


def _check_membership(spec: LabelSpec, membership: str) -> None:
    if membership not in {DYNAMIC, MANUAL}:
        raise InvalidArgument("label_membership_type", f"unknown label_membership_type: {membership}")
    if membership == DYNAMIC and spec.hosts is not None:
        raise InvalidArgument("hosts", f"label {spec.name} is declared as dynamic but contains `hosts` key")
    if membership == MANUAL and spec.hosts is None:
        raise InvalidArgument("hosts", f"label {spec.name} is declared as manual but contains no `hosts key`")
    if membership == DYNAMIC and not spec.query.strip():
        raise InvalidArgument("query", f"label {spec.name} is declared as dynamic but has no query")
    if membership == MANUAL and spec.query.strip():
        raise InvalidArgument("query", f"label {spec.name} is declared as manual but has a query")


async def _change(session: AsyncSession, known: Label, spec: LabelSpec, membership: str, now: datetime) -> None:
    if known.label_membership_type != membership:
        raise InvalidArgument("label_membership_type", f"the membership type of label {known.name} cannot be changed")
    await labels.rename(session, known, spec.name, spec.description, now=now)
    if (known.query, known.platform) != (spec.query, spec.platform):
        await labels.redefine(session, known, spec.query, spec.platform, now=now)
