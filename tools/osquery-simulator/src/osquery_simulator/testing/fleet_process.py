"""A fleet in a process of its own, for tests that look at a system from outside."""

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from osquery_simulator.account import Account, read_account

LOOK_SECONDS = 0.2
STOP_SECONDS = 30


class FleetProcess:
    """`python -m osquery_simulator` with its files in a folder.

    Example:
        async with FleetProcess(tmp_path, url=url, ca_file=ca, enroll_secret=secret, hosts=25) as fleet:
            await fleet.until(lambda report: report["hosts_enrolled"] == 25)
            account = await fleet.stop()

    """

    def __init__(
        self,
        folder: Path,
        *,
        url: str,
        ca_file: Path,
        enroll_secret: str,
        hosts: int = 1,
        flags: Mapping[str, object] | None = None,
        arguments: tuple[str, ...] = (),
    ) -> None:
        """Get ready; `arguments` are further words of the command line, such as `--first-index 25`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        secret_file = folder / "enroll-secret"
        secret_file.touch(mode=0o600)
        secret_file.write_text(enroll_secret, "utf-8")
        options: dict[str, object] = {
            "--url": url,
            "--ca-file": ca_file,
            "--enroll-secret-file": secret_file,
            "--hosts": hosts,
            "--account": folder / "account.json",
            "--report": folder / "report.json",
            "--hosts-report": folder / "hosts.json",
            "--report-every": LOOK_SECONDS,
        }
        words = [str(word) for pair in options.items() for word in pair]
        words += [word for name, value in (flags or {}).items() for word in ("--flag", f"{name}={value}")]
        self._command = [sys.executable, "-m", "osquery_simulator", *words, *arguments]
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        for name in ("report.json", "hosts.json", "account.json"):
            (self._folder / name).unlink(missing_ok=True)  # an earlier fleet's
        with (self._folder / "output.log").open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(*self._command, stdout=output, stderr=output)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            await self._end()

    def report(self) -> dict[str, Any]:
        """Give the figures of a moment ago, empty at the very start."""
        return self._read("report.json") or {}

    def hosts(self) -> list[dict[str, Any]]:
        """Give what each host held a moment ago: identifier, name, profile, enrolments, configuration."""
        return self._read("hosts.json") or []

    def account(self) -> Account:
        """Give the account of lines of a moment ago."""
        return read_account(self._folder / "account.json")

    async def until(self, claim: Callable[[dict[str, Any]], object], timeout_seconds: float = 60) -> dict[str, Any]:
        """Wait until the claim about the report holds; before the first report there is no claim.

        Raises:
            TimeoutError: it did not in time.
            RuntimeError: the fleet has ended.

        """
        async with asyncio.timeout(timeout_seconds):
            while True:
                report = self.report()
                if report and claim(report):
                    return report
                if self._process is None or self._process.returncode is not None:
                    raise RuntimeError(f"the fleet is not running: {self._output()}")
                await asyncio.sleep(LOOK_SECONDS)

    async def stop(self) -> Account:
        """Stop as a person would, and give the final account.

        Raises:
            RuntimeError: the fleet ended with an error, or had done so before.

        """
        status = await self._end()
        if status != 0:
            raise RuntimeError(f"the fleet ended with status {status}: {self._output()}")
        return self.account()

    async def _end(self) -> int:
        if self._process is None:
            raise RuntimeError("the fleet was never started")
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()

    def _read(self, name: str) -> Any:
        path = self._folder / name
        return json.loads(path.read_text("utf-8")) if path.exists() else None

    def _output(self) -> str:
        return (self._folder / "output.log").read_text("utf-8", "replace")[-2000:]
