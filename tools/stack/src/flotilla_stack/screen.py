"""The one screen that a person reads when everything runs."""

import json
import os
import secrets
import shlex
import sys
import sysconfig
from pathlib import Path

from flotilla_stack.home import default_home
from flotilla_stack.layout import Layout
from flotilla_stack.output import Console
from flotilla_stack.passwords import STACK_EMAIL
from flotilla_stack.seed import Seeded


def screen(at: Layout, seeded: Seeded, console: Console, *, seconds: float, hosts: int, go_on: bool) -> str:
    """Return the text. `go_on`: simulated hosts of an earlier run are there."""
    curl = f"curl -K {short(at.home.curl_config)}"
    live = """-d '{"query": "SELECT name, version FROM os_version"}'"""
    stack = Path(sysconfig.get_path("scripts")) / "stack"
    parts = short(stack) if stack.exists() else f"{short(Path(sys.executable))} -m flotilla_stack"
    elsewhere = "" if at.home.path == default_home() else f" --home {short(at.home.path)}"
    return f"""
{console.bold(f"Flotilla is ready after {seconds:.1f} s")}; {simulated(at, seeded, hosts, go_on=go_on)}.

  URL            {at.url}      (hosts and people; a browser sees the API's documentation)
  admin          {at.admin_email}
  password       {seeded.password or "(the one that you chose; the generated one is no longer valid)"}
  enroll secret  {seeded.enroll_secret or "(none known, see below)"}
  CA             {short(at.keys.ca)}
{"".join(f"{chr(10)}{console.bold('Note')}: {note}{chr(10)}" for note in notes(at, seeded))}
{console.bold("A real osqueryd on this machine")} (each --tls_... flag is in the file):
  osqueryd --flagfile {short(at.home.flagfile)}

{console.bold("Try")}
  {curl} {at.url}/api/v1/fleet/hosts
  {curl} {at.url}/api/v1/fleet/hosts/1/query {live}
  tail -F {short(at.home.shipped)}/result.log

Parts:  {parts} ctl{elsewhere} status      Logs: {short(at.home.logs)}/NAME.log      Tools: {short(at.home.dev)}
Ctrl-C stops everything; the next start goes on from here.
"""


def may_enroll(at: Layout, seeded: Seeded) -> bool:
    """Tell whether simulated hosts have a way in: the secret, or the node keys of an earlier run."""
    return bool(seeded.enroll_secret) or at.home.simulator.exists()


def simulated(at: Layout, seeded: Seeded, hosts: int, *, go_on: bool) -> str:
    """Say what the simulated hosts do."""
    if not hosts:
        return "no simulated hosts"
    if seeded.enroll_secret and go_on:
        return f"{hosts} simulated hosts go on where they stopped (new ones enroll)"
    if seeded.enroll_secret:
        return f"{hosts} simulated hosts are enrolling"
    if may_enroll(at, seeded):
        return f"of {hosts} simulated hosts those go on that have enrolled before, no other has an enroll secret"
    return "no simulated hosts, because there is no enroll secret for them"


def notes(at: Layout, seeded: Seeded) -> list[str]:
    """Say what people have changed so that we cannot go on as before, and what to do."""
    if not seeded.token:
        return [
            f"no token of ours is valid: the user {STACK_EMAIL} or its login was removed, or is no admin any more,\n"
            "  and neither is the generated password. Make an API-only user with the role admin (as an admin,\n"
            f"  POST {at.url}/api/v1/fleet/users/admin),\n"
            f"  put its token into {short(at.home.api_token)}, and start again."
        ]
    if not seeded.enroll_secret:
        found = (
            "each global enroll secret has a limit (time, uses or networks), which the hosts here may not meet"
            if seeded.limited_secrets
            else "there is no global enroll secret; new hosts come in by a team's only"
        )
        return [f"{found}. To add one, then start again:\n  {adding_a_secret(at, seeded)}"]
    return []


def adding_a_secret(at: Layout, seeded: Seeded) -> str:
    """Return the command that adds a secret. The present ones are listed, since a set is replaced; limits stay."""
    listed = [{"secret": secret} for secret in (*seeded.limited_secrets, secrets.token_urlsafe(24))]
    body = shlex.quote(json.dumps({"spec": {"secrets": listed}}))
    return f"curl -K {short(at.home.curl_config)} {at.url}/api/v1/fleet/spec/enroll_secret -d {body}"


def short(path: Path) -> str:
    """Return the path as one would type it here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
