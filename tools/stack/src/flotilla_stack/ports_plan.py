"""Which part listens where: the usual ports, others where those are taken, the same again at the next run."""

import json
from dataclasses import dataclass
from pathlib import Path

from flotilla_stack.files import write_private
from flotilla_stack.home import read_json
from flotilla_stack.servers.ports import choose_port, choose_row

GATEWAYS = (1, 2)

USUAL = {
    "edge": 8443,
    "postgres": 5433,
    "nats": 4223,
    "nats_monitoring": 8223,
    "valkey": 6380,
    "s3": 9000,
    "admin_api": 8470,
    "collector": 8480,
    "gateway_1_tls": 8451,
    "gateway_2_tls": 8452,
    "gateway_1_plain": 8461,
    "gateway_2_plain": 8462,
    "health_gateway_1": 9101,
    "health_gateway_2": 9102,
    "health_admin_api": 9103,
    "health_inventory": 9104,
    "health_config_merger": 9105,
    "health_live_query": 9106,
    "health_log_shipper": 9107,
    "health_analytics_reporter": 9108,
    "health_analytics_collector": 9109,
}

USUAL_ROWS = {1: 9120, 2: 9140}
"""Where the health ports of a gateway with workers begin: its own, and behind it one for each of them."""


@dataclass(frozen=True)
class Ports:
    """Chosen ports by name; the names are those of `USUAL`."""

    by_name: dict[str, int]

    def __getitem__(self, name: str) -> int:
        return self.by_name[name]


def choose_ports(record: Path, *, workers: int = 1) -> Ports:
    """Take the ports of the last run where they are free, else the usual ones, else free ones; write them down.

    With several workers each gateway's health port has those of its workers behind it.
    """
    last = read_json(record)
    chosen: dict[str, int] = {}
    for gateway in GATEWAYS if workers > 1 else ():
        names = [f"health_gateway_{gateway}", *worker_names(gateway, workers)]
        preferred = number_of(last.get(names[0]), USUAL_ROWS[gateway]) if names[1] in last else USUAL_ROWS[gateway]
        chosen |= zip(names, choose_row(len(names), preferred), strict=True)
    for name, usual in USUAL.items():
        if name not in chosen:
            chosen[name] = choose_port(number_of(last.get(name), usual))
    write_private(record, json.dumps(chosen, indent=2) + "\n")
    return Ports(chosen)


def worker_names(gateway: int, workers: int) -> list[str]:
    """Return the names of the health ports of a gateway's workers; of a gateway without workers: none."""
    return [f"health_gateway_{gateway}_worker_{number}" for number in range(1, workers + 1)] if workers > 1 else []


def number_of(recorded: object, usual: int) -> int:
    """Return a recorded port if it is one."""
    return recorded if isinstance(recorded, int) else usual
