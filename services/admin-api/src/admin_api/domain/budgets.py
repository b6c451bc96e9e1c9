"""Budgets of live queries: what a person asks for, within what the person's role may have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flotilla_common.contracts.campaigns import Budget

from admin_api.domain.viewer import Viewer
from admin_api.errors import InvalidArgument
from admin_api.store.host_scope import VisibleTeams

NAMES = tuple(Budget.model_fields)


def check(config: Mapping[str, Any]) -> None:
    """Refuse a default that is above what the same role may have.

    Raises:
        InvalidArgument: all of them.

    """
    found = [
        (
            f"live_query_budgets.default.{role}.{name}",
            f"must be at most {most[name]}, live_query_budgets.most.{role}.{name}",
        )
        for role, most in config["most"].items()
        for name in NAMES
        if _is_above(config["default"][role][name], most[name])
    ]
    if found:
        first, *more = found
        raise InvalidArgument(*first, *more)


def granted(given: Budget, viewer: Viewer, teams: VisibleTeams, config: Mapping[str, Any]) -> Budget:
    """Return the budget of a campaign on the hosts of these teams: what is given, else the default of the role.

    Raises:
        InvalidArgument: more is given than the role may have.

    """
    roles = _roles(viewer, teams)
    most = _strictest(config["most"].get(role, {}) for role in roles)
    _hold(given, most, roles)
    default = _strictest(config["default"].get(role, {}) for role in roles)
    return _within(_either(given, default), most)


def renewed(given: Budget, before: Budget, viewer: Viewer, teams: VisibleTeams, config: Mapping[str, Any]) -> Budget:
    """Return the budget of a campaign that goes on: what is given, else what it had, within what the role may have.

    Raises:
        InvalidArgument: more is given than the role may have.

    """
    roles = _roles(viewer, teams)
    most = _strictest(config["most"].get(role, {}) for role in roles)
    _hold(given, most, roles)
    budget = _within(_either(given, before), most)
    if budget.hosts_at_a_time is not None and before.hosts_at_a_time is None:
        raise InvalidArgument("budget.hosts_at_a_time", "it was started to ask all at once, and cannot change that")
    return budget


def _roles(viewer: Viewer, teams: VisibleTeams) -> list[str]:
    """Return the roles that count: the global one, else all that the viewer has on the teams that are asked."""
    if viewer.global_role is not None:
        return [viewer.global_role]
    return sorted({role for team, role in viewer.team_roles.items() if teams is None or team in teams})


def _strictest(limits: Iterable[Mapping[str, int | None]]) -> Budget:
    listed = list(limits)
    return Budget(**{name: _least(one.get(name) for one in listed) for name in NAMES})


def _hold(given: Budget, most: Budget, roles: list[str]) -> None:
    found = [
        (f"budget.{name}", f"the role {', '.join(roles)} may have at most {getattr(most, name)}")
        for name in NAMES
        if _is_above(getattr(given, name), getattr(most, name))
    ]
    if found:
        first, *more = found
        raise InvalidArgument(*first, *more)


def _either(given: Budget, other: Budget) -> Budget:
    return other.model_copy(update=given.model_dump(exclude_none=True))


def _within(budget: Budget, most: Budget) -> Budget:
    return Budget(**{name: _least((getattr(budget, name), getattr(most, name))) for name in NAMES})


def _least(numbers: Iterable[int | None]) -> int | None:
    return min((number for number in numbers if number is not None), default=None)


def _is_above(number: int | None, most: int | None) -> bool:
    return number is not None and most is not None and number > most
