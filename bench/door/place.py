"""The servers that most measures share: one gateway with everything on, nginx, and the plain handlers."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property

from bench.bodies import NOTHING, READ
from bench.house import GatewayProcess, House, Process, wait_until
from bench.load_client import KEPT_AGENT, SERVER_CORE, STOCK_AGENT, Target, core
from bench.nginx import start_nginx
from bench.rounds import Candidate, Pace

POLLING = 100_000  # hosts that ask
ASKED = 10_000  # further hosts, targets of the campaigns that are open meanwhile
CAMPAIGN = 1  # a broad one, at all those
NARROW = range(2, 102)  # at 50 of those each
NARROW_HOSTS = 50
PREFIX = "/api/v1/osquery"


@dataclass
class Place:
    """Starts each server when it is first needed."""

    house: House
    pace: Pace

    @cached_property
    def gateway(self) -> GatewayProcess:
        """The gateway: 100k known hosts that poll, and 10k that a broad and many narrow campaigns are open for."""
        gateway = self.house.start_gateway(POLLING + ASKED)
        asked = range(POLLING, POLLING + ASKED)
        narrow = {number: asked[number : number + NARROW_HOSTS] for number in NARROW}
        self.house.neighbours.start_campaigns({CAMPAIGN: asked, **narrow})
        wait_for_campaigns(gateway, 1 + len(narrow))
        return gateway

    @cached_property
    def nginx(self) -> Target | None:
        """nginx, None when it is not installed."""
        return start_nginx(self.house)

    @cached_property
    def naive(self) -> Target:
        """The plain handlers, with the same hosts."""
        environment, plain, tls = self.house.listening("agent_gateway")
        config_file = self.house.directory / "config.json"
        config_file.write_bytes(self.house.config)
        environment |= {
            "BENCH_KNOWN_HOSTS": str(POLLING),
            "BENCH_CONFIG_FILE": str(config_file),
            "BENCH_ETAG": self.house.neighbours.etag,
        }
        command = [*core(SERVER_CORE), sys.executable, "-m", "bench.naive"]
        process, log_file = self.house.launch("naive", command, environment)
        running = Process(Target("plain handlers", process.pid, plain, tls), process, log_file)
        self.house.keep(running)
        wait_until(lambda: is_listening(plain) and is_listening(tls), running, "it listens")
        return running.target


def wait_for_campaigns(gateway: GatewayProcess, count: int) -> None:
    """Wait until a gateway has so many open campaigns."""
    wait_until(lambda: gateway.metric("flotilla_gateway_campaigns_open") == count, gateway, f"{count} open campaigns")


def is_listening(port: int) -> bool:
    """Whether a process listens on a port; without connecting to it (Linux: proc(5), /proc/net/tcp)."""
    wanted, listen_state = f":{port:04X}", "0A"
    with open("/proc/net/tcp", encoding="ascii") as table:  # noqa: PTH123 - not a file of ours
        fields = (line.split() for line in table)
        return any(field[1].endswith(wanted) and field[3] == listen_state for field in fields)


def stock(
    target: Target, *, path: str, body: str | None, expect: str, name: str = "", method: str = "POST"
) -> Candidate:
    """Return a stock osqueryd's way to ask: a new TLS 1.3 connection for every request."""
    words = ["--port", str(target.tls_port), "--tls", "1.3", "--new-connection", "--user-agent", STOCK_AGENT]
    return Candidate(name or target.name, target, (*words, *asking(path, body, expect, method)))


def kept_tls(target: Target, connections: int, rate: float) -> Candidate:
    """Return polls over kept TLS connections at a steady rate."""
    words = ["--port", str(target.tls_port), "--tls", "1.3", "--connections", str(connections), "--rate", f"{rate:g}"]
    return Candidate(target.name, target, (*words, "--user-agent", KEPT_AGENT, *polling()))


def kept_plain(target: Target, *more: str, name: str = "") -> Candidate:
    """Return polls over 64 kept plain connections, as a balancer has them."""
    words = ["--port", str(target.plain_port), "--connections", "64", "--user-agent", KEPT_AGENT, *polling(), *more]
    return Candidate(name or target.name, target, tuple(words))


def polling() -> list[str]:
    """Return the words for an empty poll."""
    return asking(f"{PREFIX}/distributed/read", READ, NOTHING)


def asking(path: str, body: str | None, expect: str, method: str = "POST") -> list[str]:
    """Return the words for one kind of request."""
    words = ["--method", method, "--path", path, "--expect", expect, "--keys", str(POLLING)]
    return [*words, "--body", body] if body is not None else words
