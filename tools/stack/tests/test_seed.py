"""The seed against a small admin-api: made once, completed when interrupted, and never in the way of people."""

import contextlib
import io
import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from flotilla_stack import seed as module
from flotilla_stack.client import Client, SeedError
from flotilla_stack.home import Home
from flotilla_stack.output import Console
from flotilla_stack.passwords import ADMIN_EMAIL, STACK_EMAIL, load_passwords
from flotilla_stack.screen import may_enroll, screen
from flotilla_stack.seed import QUERIES, Seeded, seed

NAMES = ["Workstations", *(str(query["name"]) for query in QUERIES)]


class KilledError(BaseException):
    """Stands for kill -9."""


@dataclass
class Admin:
    """What the seed needs to know of admin-api."""

    passwords: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=lambda: ["global"])
    limited: list[dict[str, Any]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    dies_after: str = ""

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content) if request.content else {}
        path = request.url.path.removeprefix("/api/v1").removeprefix("/fleet")
        self.calls.append(path)
        status, content = self.reply(path, body, request.headers.get("Authorization", "").removeprefix("Bearer "))
        if self.dies_after and self.dies_after in {path, body.get("name")}:
            self.dies_after = ""
            raise KilledError
        return httpx2.Response(status, json=content)

    def reply(self, path: str, body: dict[str, Any], token: str) -> tuple[int, dict[str, Any]]:
        if path == "/setup":
            return (404, {}) if self.passwords else (200, {"token": self.join(**body["admin"])})
        if path == "/login":
            is_right = self.passwords.get(body["email"]) == body["password"]
            return (200, {"token": self.new_token(body["email"])}) if is_right else (401, {})
        if token not in self.tokens:
            return 401, {}
        if path == "/users/admin":
            return (409, {}) if body["email"] in self.passwords else (200, {"token": self.join(**body)})
        if path == "/spec/enroll_secret":
            return 200, {"spec": {"secrets": [*self.limited, *({"secret": secret} for secret in self.secrets)]}}
        is_known = body["name"] in self.names
        self.names += [] if is_known else [body["name"]]
        return (409 if is_known else 200), {}

    def join(self, *, email: str, password: str, **_: object) -> str:
        self.passwords[email] = password
        return self.new_token(email)

    def new_token(self, email: str) -> str:
        token = f"{email}-{len(self.tokens)}"
        self.tokens[token] = email
        return token

    def forget(self, email: str) -> None:
        """Remove a user's logins."""
        self.tokens = {token: whose for token, whose in self.tokens.items() if whose != email}


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Admin:
    """An installation that is not set up."""
    made = Admin()

    @contextlib.contextmanager
    def client(url: str, ca: Path) -> Iterator[Client]:
        with httpx2.Client(base_url=url, transport=httpx2.MockTransport(made.answer)) as http:
            yield Client(http)

    monkeypatch.setattr(module, "client", client)
    return made


@pytest.fixture
def at(tmp_path: Path) -> Any:
    """Where the seed looks."""
    home = Home(tmp_path)
    passwords = load_passwords(home.service_secrets, home.owner_secrets)
    keys = SimpleNamespace(ca=tmp_path / "ca.pem")
    return SimpleNamespace(
        home=home, url="https://localhost:8443", keys=keys, passwords=passwords, admin_email=ADMIN_EMAIL
    )


def said(at: Any, seeded: Seeded, *, go_on: bool = False) -> str:
    return screen(at, seeded, Console(io.StringIO()), seconds=1, hosts=20, go_on=go_on)


def test_a_new_installation_gets_an_admin_a_user_of_ours_a_team_and_queries(admin: Admin, at: Any) -> None:
    seeded = seed(at)

    assert admin.names == NAMES
    assert admin.tokens[seeded.admin_token] == ADMIN_EMAIL
    assert admin.tokens[seeded.token] == STACK_EMAIL
    assert (seeded.password, seeded.enroll_secret) == (at.passwords.admin, "global")
    assert (at.home.api_token.stat().st_mode & 0o777, at.home.api_token.read_text()) == (0o600, f"{seeded.token}\n")


def test_what_people_rename_or_remove_stays_so(admin: Admin, at: Any) -> None:
    seed(at)
    admin.names = ["Desktops", "Uptime of all"]
    seeded = seed(at)

    assert admin.names == ["Desktops", "Uptime of all"]
    assert seeded.enroll_secret == "global"


@pytest.mark.parametrize("last", ["/setup", "/users/admin", "Workstations", "Uptime"])
def test_a_run_that_dies_while_it_seeds_is_completed_by_the_next(admin: Admin, at: Any, last: str) -> None:
    admin.dies_after = last
    with pytest.raises(KilledError):
        seed(at)
    seeded = seed(at)

    assert admin.names == NAMES
    assert admin.tokens[seeded.token] == STACK_EMAIL


def test_what_somebody_else_has_set_up_is_not_furnished(admin: Admin, at: Any) -> None:
    admin.join(email=ADMIN_EMAIL, password=at.passwords.admin)
    seed(at)

    assert admin.names == []


def test_after_a_change_of_the_password_our_own_user_goes_on(admin: Admin, at: Any) -> None:
    first = seed(at)
    admin.passwords[ADMIN_EMAIL] = "another"
    admin.forget(ADMIN_EMAIL)
    second = seed(at)

    assert second == Seeded(admin_token=first.token, token=first.token, password="", enroll_secret="global")
    assert "the one that you chose" in said(at, second)
    assert at.passwords.admin not in said(at, second)


def test_a_password_that_was_refused_is_not_tried_at_every_start(admin: Admin, at: Any) -> None:
    seed(at)
    admin.passwords[ADMIN_EMAIL] = "another"
    seed(at)
    admin.calls.clear()
    seed(at)

    assert "/login" not in admin.calls


def test_a_user_of_ours_that_was_removed_is_not_made_again_and_the_admin_goes_on(admin: Admin, at: Any) -> None:
    seed(at)
    del admin.passwords[STACK_EMAIL]
    admin.forget(STACK_EMAIL)
    seeded = seed(at)

    assert STACK_EMAIL not in admin.passwords
    assert admin.tokens[seeded.token] == ADMIN_EMAIL


def test_without_any_valid_token_the_screen_says_what_to_do(admin: Admin, at: Any) -> None:
    seed(at)
    admin.passwords = {ADMIN_EMAIL: "another"}
    admin.tokens = {}
    seeded = seed(at)

    assert seeded == Seeded(admin_token="", token="", password="", enroll_secret="")
    assert f"put its token into {at.home.api_token}" in said(at, seeded)


def test_a_token_that_a_person_puts_into_the_file_is_taken(admin: Admin, at: Any) -> None:
    seed(at)
    admin.passwords = {ADMIN_EMAIL: "another"}
    admin.tokens = {"given": "ada@acme.test"}
    at.home.api_token.write_text("given\n")
    seeded = seed(at)

    assert (seeded.token, seeded.admin_token, seeded.enroll_secret) == ("given", "given", "global")


def test_without_a_global_secret_it_starts_and_says_why_no_host_does(admin: Admin, at: Any) -> None:
    seed(at)
    admin.secrets = []
    seeded = seed(at)
    text = said(at, seeded)
    lets_new_hosts_in = may_enroll(at, seeded)
    at.home.simulator.mkdir()

    assert (seeded.enroll_secret, lets_new_hosts_in, may_enroll(at, seeded)) == ("", False, True)
    assert "no simulated hosts, because there is no enroll secret for them" in text
    assert "/api/v1/fleet/spec/enroll_secret -d " in text
    assert "those go on that have enrolled before" in said(at, seeded)


@pytest.mark.parametrize(
    "limit",
    [{"expires_at": "2031-01-02T02:04:05Z"}, {"max_uses": 10, "uses": 0}, {"allowed_networks": ["192.0.2.0/24"]}],
)
def test_a_secret_with_a_limit_is_not_ours_to_use(admin: Admin, at: Any, limit: dict[str, Any]) -> None:
    admin.limited = [{"secret": "it's limited", **limit}]
    beside_another = seed(at).enroll_secret
    admin.secrets = []
    alone = seed(at)
    [command] = [line for line in said(at, alone).splitlines() if "/spec/enroll_secret -d " in line]
    [*kept, added] = json.loads(shlex.split(command)[-1])["spec"]["secrets"]

    assert (beside_another, alone.enroll_secret, may_enroll(at, alone)) == ("global", "", False)
    assert "each global enroll secret has a limit" in said(at, alone)
    assert kept == [{"secret": "it's limited"}]  # its limits stay as they are
    assert added["secret"]


def test_hosts_of_an_earlier_run_are_not_said_to_enroll(admin: Admin, at: Any) -> None:
    seeded = seed(at)

    assert "; 20 simulated hosts are enrolling." in said(at, seeded)
    assert "; 20 simulated hosts go on where they stopped (new ones enroll)." in said(at, seeded, go_on=True)


def test_an_answer_that_no_person_can_have_caused_is_an_error(admin: Admin, at: Any) -> None:
    admin.reply = lambda *_: (500, {"message": "broken"})  # type: ignore[method-assign]

    with pytest.raises(SeedError, match=r"/setup answered 500: .*broken"):
        seed(at)
