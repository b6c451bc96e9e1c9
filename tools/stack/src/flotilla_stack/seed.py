"""Make a new installation useful, once: an admin, a user of our own, a team, scheduled queries.

Afterwards everything belongs to the people: a later run only looks, and whatever they changed, it starts.
"""

from dataclasses import dataclass

from flotilla_stack.client import API, Client, client
from flotilla_stack.files import write_private
from flotilla_stack.layout import Layout
from flotilla_stack.passwords import STACK_EMAIL
from flotilla_stack.record import Record

TEAM = "Workstations"
QUERIES: tuple[dict[str, object], ...] = (
    {
        "name": "Operating system",
        "query": "SELECT name, version, platform FROM os_version",
        "interval": 10,
        "logging": "snapshot",
        "automations_enabled": True,
    },
    {
        "name": "Uptime",
        "query": "SELECT days, hours, total_seconds FROM uptime",
        "interval": 10,
        "logging": "differential",
        "automations_enabled": True,
    },
    {
        "name": "Local users",
        "query": "SELECT uid, username, directory FROM users",
        "interval": 60,
        "logging": "snapshot",
        "automations_enabled": True,
    },
)
THINGS: tuple[tuple[str, dict[str, object]], ...] = (
    ("teams", {"name": TEAM}),
    *(("queries", query) for query in QUERIES),
)
LIMITS = frozenset({"expires_at", "max_uses", "allowed_networks"})  # members of a secret that has them
INSTALLATION = "installation"
OWN_USER = "user"
PASSWORD_CHANGED = "password changed"  # noqa: S105 - the name of a fact


@dataclass(frozen=True)
class Seeded:
    """What the run needs to know afterwards; what is not known, or not there, is empty."""

    admin_token: str
    """The admin's where the generated password still works, else our own user's."""
    token: str
    """Our own user's, which no change of a password ends; else the admin's."""
    password: str
    """The admin's, empty once a person has chosen another."""
    enroll_secret: str
    """One without limits: it goes on to let in all hosts of this machine."""
    limited_secrets: tuple[str, ...] = ()
    """All of the set, where each of them has a limit."""


def seed(at: Layout) -> Seeded:
    """Set up what no run has set up before, and find a token and the enroll secret.

    Raises:
        SeedError: an answer that nothing a person may have done explains.
        httpx2.HTTPError: no answer.

    """
    record = Record(at.home.seeded)
    with client(at.url, at.keys.ca) as api:
        admin = set_up(api, record, at) or log_in(api, record, at)
        own = own_token(api, record, at, admin)
        good = {token: secrets for token in (own, admin) if (secrets := api.global_secrets(token)) is not None}
        if good:
            furnish(api, record, next(iter(good)))
    secrets = next(iter(good.values()), [])
    unlimited = [str(entry["secret"]) for entry in secrets if LIMITS.isdisjoint(entry)]
    return Seeded(
        admin_token=next((token for token in (admin, own) if token in good), ""),
        token=next(iter(good), ""),
        password="" if PASSWORD_CHANGED in record else at.passwords.admin,
        enroll_secret=unlimited[0] if unlimited else "",
        limited_secrets=() if unlimited else tuple(str(entry["secret"]) for entry in secrets),
    )


def set_up(api: Client, record: Record, at: Layout) -> str:
    """Create the first admin and return a token; empty where there is one already."""
    if INSTALLATION in record:
        return ""
    was_ours = not record.is_new
    record.begin()
    body = {
        "admin": {"name": "Admin", "email": at.admin_email, "password": at.passwords.admin},
        "org_info": {"org_name": "Flotilla"},
        "server_url": at.url,
    }
    status, answer = api.call("POST", "/api/v1/setup", body, also=(404,))
    if status == 404 and not was_ours:  # somebody else set it up: what is in it is theirs
        record.add(*(str(thing["name"]) for _, thing in THINGS))
    record.add(INSTALLATION)
    return str(answer.get("token", ""))


def log_in(api: Client, record: Record, at: Layout) -> str:
    """Log in with the generated password; once it was refused, never again, since each failure is an activity."""
    if PASSWORD_CHANGED in record:
        return ""
    status, token = api.log_in(at.admin_email, at.passwords.admin)
    if status == 401:
        record.add(PASSWORD_CHANGED)
    return token


def own_token(api: Client, record: Record, at: Layout, admin: str) -> str:
    """Return the token of our own API-only user, which is made once; empty where there is none."""
    if OWN_USER not in record and admin and (token := make_own_user(api, at.passwords.stack, admin)):
        write_private(at.home.api_token, f"{token}\n")
        record.add(OWN_USER)
    return at.home.api_token.read_text("utf-8").strip() if at.home.api_token.exists() else ""


def make_own_user(api: Client, password: str, admin: str) -> str:
    """Create the user and return its token; where an interrupted run has created it, log in."""
    user = {"name": "Flotilla stack", "email": STACK_EMAIL, "password": password}
    rights = {"api_only": True, "global_role": "admin"}
    status, answer = api.call("POST", f"{API}/users/admin", user | rights, token=admin, also=(401, 403, 409))
    return api.log_in(STACK_EMAIL, password)[1] if status == 409 else str(answer.get("token", ""))


def furnish(api: Client, record: Record, token: str) -> None:
    """Make the team and the queries that no run has made; 409 means that an interrupted one has."""
    for kind, thing in THINGS:
        name = str(thing["name"])
        if name not in record:
            api.call("POST", f"{API}/{kind}", thing, token=token, also=(409,))
            record.add(name)
