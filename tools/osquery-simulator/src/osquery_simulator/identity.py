"""Who a pretended host is. The same seed and index always give the same host."""

import random
import uuid
from dataclasses import dataclass

FIRST_NAMES = ("ada", "ben", "cleo", "dana", "emil", "fay", "gus", "hana", "ivo", "jana", "kim", "lars", "mia", "noor")
CPUS = (("Example CPU model E0", 2), ("Example CPU model E4 @ 2.60GHz", 4), ("Example CPU model X9 @ 3.10GHz", 8))


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one host from another."""

    index: int
    uuid: str
    instance_id: str
    hostname: str
    serial: str
    mac: str
    ipv4: str
    ipv6: str
    cpu_brand: str
    cores: int
    memory_bytes: int
    uptime_seconds: int
    """How long the machine had been up when the simulator met it."""
    user: str
    package_number: int
    """Chooses the packages that only this host has."""


def make(seed: str, index: int, profile: str) -> Identity:
    """Make up a host from numbers that depend on seed and index alone."""
    dice = random.Random(f"{seed}:{index}")  # noqa: S311 - pretended hosts, not secrets
    cpu_brand, cores = dice.choice(CPUS)
    number = dice.getrandbits(40)
    return Identity(
        index=index,
        uuid=_uuid(dice),
        instance_id=_uuid(dice).lower(),
        hostname=f"{profile}-{index:05d}",
        serial=f"SIM{number:010X}",
        mac="02:" + ":".join(f"{(number >> shift) & 255:02x}" for shift in (32, 24, 16, 8, 0)),
        ipv4=".".join(str(part) for part in (10, *(index + 256).to_bytes(3, "big"))),
        ipv6=f"fe80::{(number >> 16) & 0xFFFF:x}:{number & 0xFFFF:x}",
        cpu_brand=cpu_brand,
        cores=cores,
        memory_bytes=dice.choice((4, 8, 16, 32)) * 1024**3,
        uptime_seconds=dice.randrange(600, 90 * 86_400),
        user=dice.choice(FIRST_NAMES) + str(index),
        package_number=dice.randrange(10_000),
    )


def _uuid(dice: random.Random) -> str:
    return str(uuid.UUID(int=dice.getrandbits(128), version=4)).upper()
