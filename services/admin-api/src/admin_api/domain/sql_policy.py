"""The live query policy: what each role may not ask live, by what SQL touches and never by how it is written."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flotilla_common.db.models.admin_api import Query

from admin_api.domain.config_blocks import DeniedSql
from admin_api.domain.osquery_tables import first_name, tables
from admin_api.domain.sql_facts import SqlFacts
from admin_api.domain.viewer import Viewer
from admin_api.errors import InvalidArgument
from admin_api.store.host_scope import VisibleTeams

ROLES = tuple(DeniedSql.model_fields)
MOST_ENTRIES = 1_000  # in one list
LONGEST_ENTRY = 200  # characters
_ENTRY = re.compile(r"(?P<table>[^\s.()]+)(\.(?P<column>[^\s.()]+))?|(?P<function>[^\s.()]+)\(\)")


@dataclass(frozen=True)
class Refusal:
    """Why a role may not ask something; `team_id` None: it is the viewer's global role."""

    team_id: int | None
    role: str
    reason: str


@dataclass(frozen=True)
class Cleared:
    """A query that has been held against the policy; `teams` are those whose hosts may be asked it (None: all)."""

    query: Query
    teams: VisibleTeams
    facts: SqlFacts
    refusals: tuple[Refusal, ...] = ()
    warnings: tuple[str, ...] = ()


def check(policy: Mapping[str, Any]) -> None:
    """Hold a policy to what can be known: a misspelt table would protect nothing.

    Raises:
        InvalidArgument: entries that are none, or that name what osquery does not have; all of them.

    """
    extensions = {name.lower() for name in policy["extension_tables"]}
    lists = {"extension_tables": policy["extension_tables"]}
    lists |= {f"denied.{role}": entries for role, entries in policy["denied"].items()}
    found = [
        (f"live_query_policy.{name}", complaint)
        for name, entries in lists.items()
        for complaint in _complaints(name, entries, extensions)
    ]
    if found:
        first, *more = found
        raise InvalidArgument(*first, *more)


def _complaints(name: str, entries: list[str], extensions: set[str]) -> Iterable[str]:
    if len(entries) > MOST_ENTRIES:
        yield f"at most {MOST_ENTRIES} entries"
        return
    for entry in entries:
        if name == "extension_tables":
            named = _ENTRY.fullmatch(entry)
            complaint = "" if named and named["table"] == entry else "must be the name of a table"
        else:
            complaint = _complaint(entry.lower(), extensions)
        if complaint or len(entry) > LONGEST_ENTRY:
            yield f'"{entry[:LONGEST_ENTRY]}": {complaint or f"longer than {LONGEST_ENTRY} characters"}'


def _complaint(entry: str, extensions: set[str]) -> str:
    named = _ENTRY.fullmatch(entry)
    if named is None:
        return "must be table, table.column or function()"
    if named["function"] or named["table"] in extensions:
        return ""
    table = tables().get(named["table"])
    if table is None:
        return f"osquery has no such table{_nearest(named['table'], tables())}; extension_tables may name others"
    if named["column"] and not table.knows(named["column"]):
        columns = [column.name for column in table.columns]
        return f"osquery's table {named['table']} has no such column{_nearest(named['column'], columns)}"
    return ""


def _nearest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" (is it {close[0]}?)" if close else ""


def hold(query: Query, viewer: Viewer, teams: VisibleTeams, policy: Mapping[str, Any], facts: SqlFacts) -> Cleared:
    """Leave out the teams on whose hosts the viewer's role may not ask this."""
    if viewer.global_role is not None:
        reason = reason_against(viewer.global_role, policy, facts)
        if reason:
            return Cleared(query, frozenset(), facts, (Refusal(None, viewer.global_role, reason),), facts.warnings)
        return Cleared(query, teams, facts, (), facts.warnings)
    roles = {team: viewer.team_roles[team] for team in sorted(teams or ()) if team in viewer.team_roles}
    reasons = {role: reason_against(role, policy, facts) for role in set(roles.values())}
    refusals = tuple(Refusal(team, role, reasons[role]) for team, role in roles.items() if reasons[role])
    allowed = frozenset(team for team, role in roles.items() if not reasons[role])
    left_out = [f"hosts of team {refusal.team_id} are not asked: {refusal.reason}" for refusal in refusals if allowed]
    return Cleared(query, allowed, facts, refusals, (*facts.warnings, *left_out))


def reason_against(role: str, policy: Mapping[str, Any], facts: SqlFacts) -> str:
    """Return why a role may not ask this, empty if it may.

    A role that has anything denied is held to SQL that can be read, and that does nothing but read.
    """
    denied: list[str] = policy["denied"].get(role, [])
    if not denied:
        return ""
    touched = [entry for entry in denied if _touches(entry.lower(), facts)]
    if touched:
        return f"the live query policy keeps the role {role} from {', '.join(touched)}"
    if facts.changes:
        return f"the live query policy lets the role {role} only read: this does {', '.join(facts.changes)}"
    if facts.unreadable:
        return f"the live query policy needs SQL of the role {role} that can be checked: {facts.unreadable}"
    return ""


def _touches(entry: str, facts: SqlFacts) -> bool:
    named = _ENTRY.fullmatch(entry)
    if named is None:
        return False
    if named["function"]:
        return named["function"] in facts.functions
    table = first_name(named["table"])
    if not named["column"]:
        return table in facts.tables
    known = tables().get(table)
    return f"{table}.{known.column(named['column']) if known else named['column']}" in facts.columns
