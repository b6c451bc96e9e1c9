"""Result lines of 544 bytes as a fleet sends them, the same at every run: half of a line differs from all others.

Process events of 200 hosts and 24 queries: each has a digest, paths, arguments and ids of its own. What log
lines repeat (names of members, of queries, a host's decorations) is repeated here too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec
from flotilla_common.contracts.logs import Manifest, Segment

from bench.bodies import LINE_BYTES, LINES, encoded

SEED = 544
HOSTS = 200
QUERIES = 24
POSTS = 5  # in a message: what a gateway joins is 256 KiB at most
NAMES = (
    "bash", "python3", "sshd", "systemd", "cron", "curl", "git", "node", "java", "postgres", "nginx", "containerd",
    "kubelet", "rsync", "tar", "find", "grep", "make", "gcc", "ld", "apt", "dpkg", "snapd", "cupsd", "dbus-daemon",
    "osqueryd", "orbit", "sudo", "su", "ssh", "scp", "vim", "less", "tail",
)  # fmt: skip
FOLDERS = ("/usr/bin", "/usr/sbin", "/usr/lib/systemd", "/opt/app/bin", "/home/dana/bin", "/usr/local/bin")
WORDS = (
    "--config", "--verbose", "--output", "--listen", "--timeout", "--retries", "--user", "--group", "--log-level",
    "--since", "--format", "--depth", "/etc/app.conf", "/var/log/syslog", "/tmp/build", "/srv/data", "127.0.0.1",
    "info", "debug", "json", "none", "origin", "main", "release",
)  # fmt: skip


class Host:
    """A host that sends lines."""

    def __init__(self, number: int, chance: random.Random) -> None:
        self.id = number
        self.uuid = f"{chance.getrandbits(128):032X}"
        self.name = f"{chance.choice(['web', 'db', 'build', 'laptop'])}-{number:04d}.example.org"
        self.counter = 0


def messages(count: int) -> Iterator[bytes]:
    """Yield bodies of messages of stream LOGS, of 500 lines each."""
    chance = random.Random(SEED)
    hosts = [Host(number, chance) for number in range(1, HOSTS + 1)]
    for number in range(count):
        posts, segments = [], []
        for _ in range(POSTS):
            host = chance.choice(hosts)
            body = b"".join(line(host, chance) + b"\n" for _ in range(LINES))
            posts.append(body)
            segments.append(Segment(host.id, host.id % 4, 1_795_514_400_000 + number, LINES, len(body)))
        yield msgspec.json.encode(Manifest(1, "result", segments)) + b"\n" + b"".join(posts)


def line(host: Host, chance: random.Random) -> bytes:
    """Return a line of exactly LINE_BYTES."""
    host.counter += 1
    name = chance.choice(NAMES)
    columns = {
        "pid": str(chance.randrange(1, 4_194_304)),
        "path": f"{chance.choice(FOLDERS)}/{name}",
        "sha256": f"{chance.getrandbits(256):064x}",
        "uid": str(chance.choice([0, 0, 33, 1000, 1001])),
        "cmdline": "",
    }
    members = {
        "name": f"pack/baseline/process_events_{chance.randrange(QUERIES):02d}",
        "hostIdentifier": host.uuid,
        "calendarTime": "Tue Nov 24 10:00:00 2026 UTC",
        "unixTime": 1_795_514_400 + host.counter // 100,
        "epoch": 0,
        "counter": host.counter,
        "numerics": False,
        "decorations": {"host_uuid": host.uuid, "hostname": host.name},
        "columns": columns,
        "action": "added",
    }
    columns["cmdline"] = arguments(name, LINE_BYTES - len(encoded(members)), chance)
    return encoded(members)


def arguments(name: str, length: int, chance: random.Random) -> str:
    """Return a command line of exactly so many characters."""
    text = name
    while len(text) < length:
        value = chance.choice(WORDS) if chance.random() < 0.6 else f"{chance.getrandbits(48):012x}"
        text += f" {value}"
    return text[:length]
