"""Every action, for every role, on every kind of subject, against a second statement of the rules."""

from __future__ import annotations

from itertools import product

import pytest
from admin_api.domain.authorize import Action, Subject, authorize, authorize_any, is_allowed, visible_team_ids
from admin_api.domain.rights import COLUMNS, RIGHTS, ROLES
from admin_api.domain.viewer import Viewer
from admin_api.errors import Forbidden

OWN, OTHER = 1, 2
A, M, P, O, G = "admin", "maintainer", "observer_plus", "observer", "gitops"  # noqa: E741 - P is observer_plus
ALL = {A, M, P, O, G}
READERS = {A, M, P, O}

# action: (those with this role globally, those with it on the subject's team, those with it on any team at all)
RULES = {
    Action.READ_APP_CONFIG: (ALL, ALL, ALL),
    Action.READ_AGENT_OPTIONS: ({A}, set(), set()),
    Action.READ_MAIL_AND_SSO: ({A}, {A}, {A}),
    Action.WRITE_APP_CONFIG: ({A, G}, set(), set()),
    Action.READ_GLOBAL_SECRETS: ({A, M}, set(), set()),
    Action.WRITE_GLOBAL_SECRETS: ({A, M, G}, set(), set()),
    Action.READ_TEAM_SECRETS: (READERS, READERS, set()),
    Action.SEE_TEAM_SECRETS: ({A, M}, {A, M}, set()),
    Action.WRITE_TEAM_SECRETS: ({A, M}, {A, M}, set()),
    Action.LIST_TEAMS: (ALL, ALL, ALL),
    Action.READ_TEAM: (READERS, READERS, set()),
    Action.CREATE_TEAM: ({A, G}, set(), set()),
    Action.WRITE_TEAM: ({A, G}, {A, G}, set()),
    Action.WRITE_TEAM_MEMBERS: ({A, G}, {A}, set()),
    Action.LIST_USERS: ({A}, {A}, set()),
    Action.READ_USER: ({A}, {A}, set()),
    Action.WRITE_USER: ({A}, {A}, set()),
    Action.WRITE_ROLES: ({A}, {A}, set()),
    Action.WRITE_INVITES: ({A}, set(), set()),
    Action.READ_SESSIONS: ({A}, set(), set()),
    Action.READ_ACTIVITIES: (READERS, set(), set()),
    Action.READ_HOSTS: (READERS, READERS, set()),
    Action.READ_HOST_BY_IDENTIFIER: (ALL, ALL, set()),
    Action.COUNT_HOSTS: (READERS, READERS, set()),
    Action.READ_HOST_HEALTH: ({A, M, O}, {A, M, O}, set()),
    Action.DELETE_HOSTS: ({A, M}, {A, M}, set()),
    Action.TRANSFER_HOSTS: ({A, M, G}, {A, M}, set()),
    Action.LABEL_HOSTS: ({A, M, G}, {A, M, G}, set()),
    Action.READ_LABELS: (ALL, ALL, ALL),
    Action.WRITE_LABELS: ({A, M, G}, {A, M}, {A, M}),
    Action.READ_QUERIES: (ALL, ALL, set()),
    Action.WRITE_QUERIES: ({A, M, G}, {A, M, G}, set()),
    Action.RUN_SAVED_QUERY: ({A, M, P}, {A, M, P}, set()),
    Action.RUN_NEW_QUERY: ({A, M, P}, {A, M, P}, set()),
    Action.SEARCH_TARGETS: (READERS, READERS, READERS),
    Action.STOP_CAMPAIGN: ({A, M}, {A, M}, set()),
    Action.READ_CARVES: ({A}, set(), set()),
    Action.READ_LOG_LEDGER: (ALL, set(), set()),
    Action.READ_LOG_DESTINATIONS: ({A, M, G}, set(), set()),
    Action.WRITE_LOG_DESTINATIONS: ({A, G}, set(), set()),
    Action.READ_DEAD_LETTERS: ({A, M}, set(), set()),
    Action.WRITE_DEAD_LETTERS: ({A}, set(), set()),
    Action.WRITE_LOG_REPLAYS: ({A, G}, set(), set()),
    Action.RUN_JOBS: ({A}, set(), set()),
    Action.READ_VERSION: (ALL, ALL, ALL),
}


def expected(action, subject, global_role, team_roles):
    globally, on_the_team, on_any = RULES[action]
    if action is Action.RUN_SAVED_QUERY and subject.observer_can_run:
        globally, on_the_team = globally | {O}, on_the_team | {O}
    if action is Action.READ_QUERIES and subject.team_id is None:
        on_any = READERS  # people of teams see the global queries, robots of teams do not
    if global_role is not None:
        return global_role in globally
    return team_roles.get(subject.team_id) in on_the_team or not on_any.isdisjoint(team_roles.values())


SUBJECTS = [Subject(team, observer_can_run=can) for team, can in product((None, OWN, OTHER), (False, True))]
VIEWERS = [
    *((role, {}) for role in sorted(ALL)),
    *((None, {OWN: role}) for role in sorted(ALL)),
    *((None, {OWN: first, OTHER: second}) for first, second in product(sorted(ALL), repeat=2)),
    (None, {}),
    ("king", {}),
    (None, {OWN: "king"}),
]


def viewer(global_role, team_roles):
    return Viewer(7, "Bo", "bo@acme.test", global_role, team_roles)


def test_the_rules_name_every_action():
    assert set(RULES) == set(Action)
    assert {name.removesuffix("@global") for name in RIGHTS} == {str(action) for action in Action}
    assert {role for _, role in COLUMNS} == set(ROLES) == ALL


@pytest.mark.parametrize("action", list(Action))
def test_every_role_may_do_this_where_the_rules_say_so_and_nowhere_else(action):
    wrong = [
        (role, team_roles, subject)
        for (role, team_roles), subject in product(VIEWERS, SUBJECTS)
        if is_allowed(viewer(role, team_roles), action, subject) != expected(action, subject, role, team_roles)
    ]

    assert wrong == []


@pytest.mark.parametrize("action", list(Action))
def test_who_may_do_this_to_nothing_is_stopped_before_any_look_up(action):
    for role, team_roles in VIEWERS:
        asked = viewer(role, team_roles)
        possible = any(is_allowed(asked, action, subject) for subject in SUBJECTS)
        try:
            authorize_any(asked, action)
        except Forbidden:
            assert not possible, (role, team_roles)
        else:
            assert possible, (role, team_roles)


def test_authorize_raises_what_becomes_a_403():
    with pytest.raises(Forbidden, match="forbidden"):
        authorize(viewer("observer", {}), Action.WRITE_APP_CONFIG)


def test_a_global_role_sees_all_teams_and_a_team_role_its_own():
    assert visible_team_ids(viewer("observer", {})) is None
    assert visible_team_ids(viewer("gitops", {})) == frozenset()
    assert visible_team_ids(viewer(None, {OWN: "observer", OTHER: "gitops"})) == {OWN}
    assert visible_team_ids(viewer(None, {OWN: "observer"}), Action.RUN_SAVED_QUERY) == frozenset()
    assert visible_team_ids(viewer(None, {OWN: "observer"}), Action.RUN_SAVED_QUERY, observer_can_run=True) == {OWN}
