"""May they? The one place that decides, by the table of `rights.py`."""

from __future__ import annotations

from dataclasses import dataclass

from admin_api.domain.rights import Action, grant
from admin_api.domain.viewer import Viewer
from admin_api.errors import Forbidden

__all__ = ["GLOBAL", "Action", "Subject", "authorize", "authorize_any", "is_allowed", "visible_team_ids"]


@dataclass(frozen=True)
class Subject:
    """What an action is done to: an object of a team, or of none (`team_id` None)."""

    team_id: int | None = None
    observer_can_run: bool = False


GLOBAL = Subject()


def authorize(viewer: Viewer, action: Action, subject: Subject = GLOBAL) -> None:
    """Let the viewer pass.

    Raises:
        Forbidden: no role of the viewer allows the action on the subject.

    """
    if not is_allowed(viewer, action, subject):
        raise Forbidden


def is_allowed(viewer: Viewer, action: Action, subject: Subject = GLOBAL) -> bool:
    """Like `authorize`, for those who only ask."""
    of_no_team = subject.team_id is None
    if viewer.global_role is not None:
        cell = grant(action, ("global", viewer.global_role), of_no_team=of_no_team)
        return cell == "Y" or (cell == "run" and subject.observer_can_run)
    cells = {team: grant(action, ("team", role), of_no_team=of_no_team) for team, role in viewer.team_roles.items()}
    if "Y" in cells.values():
        return True
    own = cells.get(subject.team_id, "-") if subject.team_id is not None else "-"
    return own == "own" or (own == "ownrun" and subject.observer_can_run)


def authorize_any(viewer: Viewer, action: Action) -> None:
    """Stop those who may do this to no object at all, before any look-up tells them what exists.

    Raises:
        Forbidden: there is no subject that the viewer may do this to.

    """
    if is_allowed(viewer, action, Subject(observer_can_run=True)):
        return
    if not any(is_allowed(viewer, action, Subject(team, observer_can_run=True)) for team in viewer.team_roles):
        raise Forbidden


def visible_team_ids(
    viewer: Viewer, action: Action = Action.READ_HOSTS, *, observer_can_run: bool = False
) -> frozenset[int] | None:
    """Return the teams to whose objects the viewer may do this; None: everything, objects of no team included."""
    if viewer.global_role is not None:
        allowed = is_allowed(viewer, action, Subject(observer_can_run=observer_can_run))
        return None if allowed else frozenset()
    teams = viewer.team_roles
    return frozenset(t for t in teams if is_allowed(viewer, action, Subject(t, observer_can_run=observer_can_run)))
