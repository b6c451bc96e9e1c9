"""Who may do what: one row per action, one column per role. Source: Fleet's manage-access rules (REST API, 4.70).

Columns: global admin, maintainer, observer_plus, observer, gitops; then the same roles on a team. Cells:
`Y` yes; `own` for objects of teams where the user has the role; `run` if the query has `observer_can_run`; `ownrun`
both; `-` no. An action with a second row `ACTION@global` uses that one for objects
of no team (without it `own` refuses them).
"""

from __future__ import annotations

from enum import StrEnum

COLUMNS = (
    ("global", "admin"),
    ("global", "maintainer"),
    ("global", "observer_plus"),
    ("global", "observer"),
    ("global", "gitops"),
    ("team", "admin"),
    ("team", "maintainer"),
    ("team", "observer_plus"),
    ("team", "observer"),
    ("team", "gitops"),
)
ROLES = ("admin", "maintainer", "observer", "observer_plus", "gitops")

TABLE = """
#                          GA  GM  GO+ GO  GG   TA  TM  TO+ TO  TG
read_app_config            Y   Y   Y   Y   Y    Y   Y   Y   Y   Y
read_agent_options         Y   -   -   -   -    -   -   -   -   -
read_mail_and_sso          Y   -   -   -   -    Y   -   -   -   -
write_app_config           Y   -   -   -   Y    -   -   -   -   -
read_global_secrets        Y   Y   -   -   -    -   -   -   -   -
write_global_secrets       Y   Y   -   -   Y    -   -   -   -   -
read_team_secrets          Y   Y   Y   Y   -    own own own own -
see_team_secrets           Y   Y   -   -   -    own own -   -   -
write_team_secrets         Y   Y   -   -   -    own own -   -   -
list_teams                 Y   Y   Y   Y   Y    Y   Y   Y   Y   Y
read_team                  Y   Y   Y   Y   -    own own own own -
create_team                Y   -   -   -   Y    -   -   -   -   -
write_team                 Y   -   -   -   Y    own -   -   -   own
write_team_members         Y   -   -   -   Y    own -   -   -   -
list_users                 Y   -   -   -   -    own -   -   -   -
read_user                  Y   -   -   -   -    own -   -   -   -
write_user                 Y   -   -   -   -    own -   -   -   -
write_roles                Y   -   -   -   -    own -   -   -   -
write_invites              Y   -   -   -   -    -   -   -   -   -
read_sessions              Y   -   -   -   -    -   -   -   -   -
read_activities            Y   Y   Y   Y   -    -   -   -   -   -
read_hosts                 Y   Y   Y   Y   -    own own own own -
read_host_by_identifier    Y   Y   Y   Y   Y    own own own own own
count_hosts                Y   Y   Y   Y   -    own own own own -
read_host_health           Y   Y   -   Y   -    own own -   own -
delete_hosts               Y   Y   -   -   -    own own -   -   -
transfer_hosts             Y   Y   -   -   Y    own own -   -   -
label_hosts                Y   Y   -   -   Y    own own -   -   own
read_labels                Y   Y   Y   Y   Y    Y   Y   Y   Y   Y
write_labels               Y   Y   -   -   Y    Y   Y   -   -   -
read_queries               Y   Y   Y   Y   Y    own own own own own
read_queries@global        Y   Y   Y   Y   Y    Y   Y   Y   Y   -
write_queries              Y   Y   -   -   Y    own own -   -   own
run_saved_query            Y   Y   Y   run -    own own own ownrun -
run_new_query              Y   Y   Y   -   -    own own own -   -
stop_campaign              Y   Y   -   -   -    own own -   -   -
search_targets             Y   Y   Y   Y   -    Y   Y   Y   Y   -
read_carves                Y   -   -   -   -    -   -   -   -   -
read_log_ledger            Y   Y   Y   Y   Y    -   -   -   -   -
read_log_destinations      Y   Y   -   -   Y    -   -   -   -   -
write_log_destinations     Y   -   -   -   Y    -   -   -   -   -
read_dead_letters          Y   Y   -   -   -    -   -   -   -   -
write_dead_letters         Y   -   -   -   -    -   -   -   -   -
write_log_replays          Y   -   -   -   Y    -   -   -   -   -
run_jobs                   Y   -   -   -   -    -   -   -   -   -
read_version               Y   Y   Y   Y   Y    Y   Y   Y   Y   Y
"""


class Action(StrEnum):
    """The rows of the table."""

    READ_APP_CONFIG = "read_app_config"
    READ_AGENT_OPTIONS = "read_agent_options"
    READ_MAIL_AND_SSO = "read_mail_and_sso"
    WRITE_APP_CONFIG = "write_app_config"
    READ_GLOBAL_SECRETS = "read_global_secrets"
    WRITE_GLOBAL_SECRETS = "write_global_secrets"
    READ_TEAM_SECRETS = "read_team_secrets"
    SEE_TEAM_SECRETS = "see_team_secrets"
    WRITE_TEAM_SECRETS = "write_team_secrets"
    LIST_TEAMS = "list_teams"
    READ_TEAM = "read_team"
    CREATE_TEAM = "create_team"
    WRITE_TEAM = "write_team"
    WRITE_TEAM_MEMBERS = "write_team_members"
    LIST_USERS = "list_users"
    READ_USER = "read_user"
    WRITE_USER = "write_user"
    WRITE_ROLES = "write_roles"
    WRITE_INVITES = "write_invites"
    READ_SESSIONS = "read_sessions"
    READ_ACTIVITIES = "read_activities"
    READ_HOSTS = "read_hosts"
    READ_HOST_BY_IDENTIFIER = "read_host_by_identifier"
    COUNT_HOSTS = "count_hosts"
    READ_HOST_HEALTH = "read_host_health"
    DELETE_HOSTS = "delete_hosts"
    TRANSFER_HOSTS = "transfer_hosts"
    LABEL_HOSTS = "label_hosts"
    READ_LABELS = "read_labels"
    WRITE_LABELS = "write_labels"
    READ_QUERIES = "read_queries"
    WRITE_QUERIES = "write_queries"
    RUN_SAVED_QUERY = "run_saved_query"
    RUN_NEW_QUERY = "run_new_query"
    STOP_CAMPAIGN = "stop_campaign"  # of somebody else, on hosts of one's teams; everybody may stop an own one
    SEARCH_TARGETS = "search_targets"
    READ_CARVES = "read_carves"
    READ_LOG_LEDGER = "read_log_ledger"
    READ_LOG_DESTINATIONS = "read_log_destinations"
    WRITE_LOG_DESTINATIONS = "write_log_destinations"
    READ_DEAD_LETTERS = "read_dead_letters"
    WRITE_DEAD_LETTERS = "write_dead_letters"
    WRITE_LOG_REPLAYS = "write_log_replays"
    RUN_JOBS = "run_jobs"
    READ_VERSION = "read_version"


def _parse(table: str) -> dict[str, dict[tuple[str, str], str]]:
    rows = [line.split() for line in table.splitlines() if line and not line.startswith("#")]
    return {row[0]: dict(zip(COLUMNS, row[1:], strict=True)) for row in rows}


RIGHTS = _parse(TABLE)


def grant(action: Action, column: tuple[str, str], *, of_no_team: bool) -> str:
    """Return the table's cell for an action and a column; `-` for roles that the table does not know."""
    row = RIGHTS[action]
    if of_no_team:
        row = RIGHTS.get(f"{action}@global", row)
    return row.get(column, "-")
