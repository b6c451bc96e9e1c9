"""Hosts at their door: single ones that a test speaks for, and fleets of the simulator."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from flotilla_stack.servers.base import launched

PREFIX = "/api/v1/osquery"
STOP_SECONDS = 30.0


def enroll_request(name: str, secret: str, version: str = "6.0.0") -> dict[str, Any]:
    """Return what an osqueryd of a version sends to enroll, every identity of it the same text."""
    details = {
        "os_version": {"name": "Ubuntu", "version": "24.04", "platform": "ubuntu", "platform_like": "debian"},
        "system_info": {"hostname": name, "uuid": name, "hardware_serial": name},
        "osquery_info": {"version": version, "instance_id": name, "uuid": name},
    }
    return {"enroll_secret": secret, "host_identifier": name, "platform_type": "9", "host_details": details}


@dataclass
class Machine:
    """One host with a node key."""

    client: httpx2.AsyncClient
    identifier: str
    node_key: str = ""

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send what osqueryd would; the answer must be a JSON object, whatever its status."""
        reply = await self.client.post(PREFIX + path, json=body)
        content = reply.json()
        assert isinstance(content, dict), reply.text
        return content

    async def enroll(self, secret: str) -> None:
        """Trade the secret for a node key."""
        self.node_key = (await self.post("/enroll", enroll_request(self.identifier, secret, "5.23.0")))["node_key"]

    async def config(self) -> dict[str, Any]:
        """Fetch the config."""
        return await self.post("/config", {"node_key": self.node_key})


@dataclass
class Fleet:
    """Simulated hosts, running or stopped."""

    process: subprocess.Popen[bytes]
    account_file: Path
    report_file: Path
    hosts_file: Path

    def stop(self) -> None:
        """Stop it as its service manager would, and wait for its papers."""
        self.process.terminate()
        assert self.process.wait(STOP_SECONDS) == 0, "the simulator failed"

    def report(self) -> dict[str, Any]:
        """Return the figures."""
        content: dict[str, Any] = json.loads(self.report_file.read_text("utf-8"))
        return content

    def hosts(self) -> list[dict[str, Any]]:
        """Return what each host held a moment ago: its identifier, its config."""
        content: list[dict[str, Any]] = json.loads(self.hosts_file.read_text("utf-8"))
        return content

    def accepted(self) -> dict[str, list[str]]:
        """Return the ids of the lines that the server said it has, of results and of status."""
        account = json.loads(self.account_file.read_text("utf-8"))
        assert not account["accepted_ids"]["is_cut"]
        ids = self.account_file.with_name(account["accepted_ids"]["file"])
        found: dict[str, list[str]] = {"result": [], "status": []}
        for line in ids.read_text("utf-8").splitlines():
            entry = json.loads(line)
            found[entry["log_type"]].append(entry["id"])
        return found


class Machines:
    """Makes hosts that come in at one address."""

    def __init__(self, url: str, ca_file: str, directory: Path) -> None:
        self.url = url
        self.ca_file = ca_file
        self.directory = directory

    @asynccontextmanager
    async def machine(self, identifier: str, *, url: str = "") -> AsyncIterator[Machine]:
        """Give a host that has not enrolled."""
        trust = ssl.create_default_context(cafile=self.ca_file)
        headers = {"User-Agent": "osquery/5.23.0"}
        async with httpx2.AsyncClient(base_url=url or self.url, verify=trust, headers=headers, timeout=20) as client:
            yield Machine(client, identifier)

    @contextmanager
    def fleet(
        self, name: str, secret: str, *, hosts: int, interval_scale: float = 1.0, **flags: object
    ) -> Iterator[Fleet]:
        """Run simulated hosts, a seed of their own each fleet, with these osquery flags, their pauses so scaled."""
        account, report = self.directory / f"{name}.account.json", self.directory / f"{name}.report.json"
        hosts_report = self.directory / f"{name}.hosts.json"
        secret_file = self.directory / f"{name}.secret"
        secret_file.write_text(secret, "utf-8")
        options = {
            "--url": self.url,
            "--ca-file": self.ca_file,
            "--enroll-secret-file": str(secret_file),
            "--hosts": str(hosts),
            "--seed": name,
            "--state-dir": str(self.directory / f"{name}.state"),
            "--account": str(account),
            "--report": str(report),
            "--hosts-report": str(hosts_report),
            "--start-spread": "2",
            "--report-every": "1",
            "--interval-scale": str(interval_scale),
        }
        words = [word for pair in options.items() for word in pair]
        words += [word for flag, value in flags.items() for word in ("--flag", f"{flag}={value}")]
        with (self.directory / f"{name}.log").open("ab") as log:
            command = launched([sys.executable, "-m", "osquery_simulator", *words], signal_number=signal.SIGTERM)
            process = subprocess.Popen(command, stdout=log, stderr=log)
        fleet = Fleet(process, account, report, hosts_report)
        try:
            yield fleet
        finally:
            if process.poll() is None:
                fleet.stop()
