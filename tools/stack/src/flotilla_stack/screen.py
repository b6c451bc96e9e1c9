"""The one screen that a person reads when everything runs."""

import os
import sys
import sysconfig
from pathlib import Path

from flotilla_stack.layout import Layout
from flotilla_stack.output import Console
from flotilla_stack.seed import Seeded


def screen(at: Layout, seeded: Seeded, console: Console, *, seconds: float, hosts: int) -> str:
    """Return the text."""
    curl = f"curl -K {short(at.home.curl_config)}"
    simulated = f"{hosts} simulated hosts are enrolling" if hosts else "no simulated hosts"
    live = """-d '{"query": "SELECT name, version FROM os_version"}'"""
    stack = Path(sysconfig.get_path("scripts")) / "stack"
    parts = short(stack) if stack.exists() else f"{short(Path(sys.executable))} -m flotilla_stack"
    return f"""
{console.bold(f"Flotilla is ready after {seconds:.1f} s")}; {simulated}.

  URL            {at.url}      (hosts and people; API documentation at {at.url}/api/docs)
  admin          {at.admin_email}
  password       {at.passwords.admin}
  enroll secret  {seeded.enroll_secret}
  CA             {short(at.keys.ca)}

{console.bold("A real osqueryd on this machine")} (each --tls_... flag is in the file):
  osqueryd --flagfile {short(at.home.flagfile)}

{console.bold("Try")}
  {curl} {at.url}/api/v1/fleet/hosts
  {curl} {at.url}/api/v1/fleet/hosts/1/query {live}
  tail -F {short(at.home.shipped)}/*.log

Parts:  {parts} ctl status      Logs: {short(at.home.logs)}/NAME.log      Tools: {short(at.home.dev)}
Ctrl-C stops everything; the next start goes on from here.
"""


def short(path: Path) -> str:
    """Return the path as one would type it here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
