"""Who people may put into manual labels."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from flotilla_common.contracts.hosts import ChangeLabelMembersV1
from sqlalchemy.ext.asyncio import AsyncSession

from admin_api.domain.authorize import Action, visible_team_ids
from admin_api.domain.viewer import Viewer
from admin_api.errors import BadRequest, Forbidden, InvalidArgument, Missing
from admin_api.store import hosts, labels
from admin_api.store.host_scope import ID, one_of, visible


def listed_teams(viewer: Viewer) -> frozenset[int] | None:
    """Return the teams (None: every host) whose members a spec lists: those that the viewer may read or label.

    A spec without hosts that the viewer may label would take them out of the label when it is applied again.
    """
    teams = visible_team_ids(viewer), visible_team_ids(viewer, Action.LABEL_HOSTS)
    return None if None in teams else frozenset[int]().union(*(some for some in teams if some is not None))


@dataclass(frozen=True)
class WantedMembers:
    """The hosts that a body lists: by name, serial or uuid, or by id; both None: the body lists none."""

    names: Collection[str] | None = None
    host_ids: Collection[int] | None = None

    @property
    def given(self) -> bool:
        """Whether the body says anything about members; an empty list does."""
        return self.names is not None or self.host_ids is not None

    def check(self) -> None:
        """Refuse two lists at once.

        Raises:
            InvalidArgument: there are two.

        """
        if self.names and self.host_ids:
            raise InvalidArgument("hosts", "Only one of either hosts or host_ids can be included in the request.")


async def replacement(
    session: AsyncSession, viewer: Viewer, label_id: int, wanted: WantedMembers
) -> ChangeLabelMembersV1:
    """Return the request that makes these hosts the members, as far as the viewer's teams reach.

    Hosts of other teams stay where they are. Unknown names are passed over.

    Raises:
        Forbidden: an id belongs to a host that the viewer may not see, or to none.
        Missing: the viewer may see every host and there is none with this id.

    """
    teams = visible_team_ids(viewer, Action.LABEL_HOSTS)
    if wanted.host_ids is not None and not wanted.names:
        members = frozenset(wanted.host_ids)
        missing = members - frozenset(await hosts.ids(session, [one_of(ID, members), visible(teams)]))
        if missing:
            raise Missing("Host", min(missing)) if teams is None else Forbidden
    else:
        members = frozenset(await hosts.ids_by_identifiers(session, wanted.names or (), teams))
    if teams is None:
        return ChangeLabelMembersV1(label_id=label_id, replace=tuple(sorted(members)))
    present = frozenset(await labels.host_ids(session, label_id, teams))
    return ChangeLabelMembersV1(
        label_id=label_id, add=tuple(sorted(members - present)), remove=tuple(sorted(present - members))
    )


async def manual_ids(session: AsyncSession, names: Collection[str], verb: str) -> list[int]:
    """Return the ids of the named labels, all of which must exist and be manual. Empty names are passed over.

    Raises:
        BadRequest: some do not exist, or are dynamic; `verb` (add, remove) is part of the text.

    """
    wanted = {name for name in names if name.strip()}
    found = {label.name.lower(): label for label in await labels.by_names(session, wanted)} if wanted else {}
    unknown = [name for name in wanted if name.lower() not in found]
    if unknown:
        raise BadRequest(f"Couldn't {verb} labels. Labels not found: {_quoted(unknown)}. All labels must exist.")
    dynamic = [label.name for label in found.values() if label.label_membership_type != "manual"]
    if dynamic:
        tail = "Dynamic labels can not be assigned to hosts manually."
        raise BadRequest(f"Couldn't {verb} labels. Labels are dynamic: {_quoted(dynamic)}. {tail}")
    return sorted(label.id for label in found.values() if label.id is not None)


def _quoted(names: Collection[str]) -> str:
    return ", ".join(f'"{name}"' for name in sorted(names))
