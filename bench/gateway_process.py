"""The real gateway as a process, its cache filled beforehand: `python -m bench.gateway_process`.

It is `agent_gateway.__main__`, settings, followers, listeners and all. The one difference: before it opens its door it
knows BENCH_KNOWN_HOSTS hosts, as after some time with a fleet of that size; through the door that would take minutes.
"""

from __future__ import annotations

import os
from typing import Any

from agent_gateway import __main__ as application
from agent_gateway.domain.gateway import Gateway
from agent_gateway.wiring import build_gateway

from bench.fleet import records

KNOWN_HOSTS = "BENCH_KNOWN_HOSTS"


def main() -> None:
    """Run the gateway with a full cache."""

    def build_full(*arguments: Any, **options: Any) -> Gateway:
        gateway = build_gateway(*arguments, **options)
        for record in records(int(os.environ.get(KNOWN_HOSTS, "0"))):
            gateway.hosts.put(record)
        return gateway

    if vars(application).get("build_gateway") is not build_gateway:
        message = "agent_gateway.__main__ does not use wiring.build_gateway any more: fill the cache where it is made"
        raise RuntimeError(message)
    vars(application)["build_gateway"] = build_full
    application.main()


if __name__ == "__main__":
    main()
