"""The commands that README.md tells a new user to type."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx2

README = Path(__file__).resolve().parents[2] / "README.md"
ADDRESS = "https://localhost:8443"
"""What stands in the README; on a screen it may have another port."""
CURL_SECONDS = 60


def curl_commands(section: str) -> list[str]:
    """Return the curl commands of a section, in order."""
    text = README.read_text("utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    commands = re.split(r"\n(?= {4}\S)|\n(?=\S)|\n\n", text)
    return [command.strip() for command in commands if command.startswith("    curl ")]


def run(command: str, folder: Path, url: str) -> tuple[int, str]:
    """Type a curl command in a folder, at the stack's own address; return the HTTP status and the body."""
    in_one_line = command.replace("\\\n", " ")
    words = [word.replace(ADDRESS, url) for word in shlex.split(in_one_line, comments=True)]
    if shutil.which("curl") is None:
        return send(words, folder)
    done = subprocess.run(
        [*words, "--write-out", "\n%{http_code}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=CURL_SECONDS,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def send(words: list[str], folder: Path) -> tuple[int, str]:
    """Do what curl does with `-K FILE URL [-d BODY] [-X METHOD]`, for machines without it."""
    given: dict[str, Any] = {}
    rest = iter(words[1:])
    for word in rest:
        if word in {"-K", "-d", "-X"}:
            given[word] = next(rest)
        else:
            given["url"] = word
    lines = (folder / given["-K"]).read_text("utf-8").splitlines()
    settings = [(name, value.strip('"')) for name, _, value in (line.partition(" = ") for line in lines)]
    headers = dict(value.split(": ", 1) for name, value in settings if name == "header")
    method = given.get("-X", "POST" if "-d" in given else "GET")
    reply = httpx2.request(
        method,
        given["url"],
        headers=headers,
        content=given.get("-d"),
        verify=dict(settings)["cacert"],
        timeout=CURL_SECONDS,
    )
    return reply.status_code, reply.text
