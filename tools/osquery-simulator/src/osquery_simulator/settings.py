"""What a run of the simulator is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class SimulatorSettings:
    """Everything that can be chosen; the defaults are a stock osqueryd's."""

    url: str = "https://127.0.0.1:8443"
    path_prefix: str = "/api/v1/osquery"
    enroll_secret: str = field(default="", repr=False)
    ca_file: Path | None = None
    is_verified: bool = True
    """Whether the server's certificate is checked."""
    hosts: int = 1
    first_index: int = 0
    """Index of the first host, so that several runs can be parts of one fleet."""
    profiles: Mapping[str, int] = field(default_factory=dict)
    seed: str = "flotilla"
    state_dir: Path | None = None
    flags: Mapping[str, object] = field(default_factory=dict)
    """osquery flags given on the command line of every host."""
    keep_alive: bool = False
    sends_authorization: bool = True
    """False: an older osqueryd, which shows its node key in the body only."""
    uses_etag: bool = False
    accepts_gzip: bool = False
    interval_scale: float = 1.0
    """All pauses of the hosts are multiplied by this, the 16 s timeout excepted."""
    start_spread_seconds: float = 0.0
    """Hosts start evenly over this time."""
    timeout_seconds: float = 16.0
    numbers_lines: bool = False
    """Whether each line carries an id of its own, as the decoration `simulator_line`."""
    account_file: Path | None = None
    account_limit: int = 1_000_000
    """At most this many ids of accepted lines are written down."""
    report_file: Path | None = None
    hosts_file: Path | None = None
    """What each host holds, its configuration included: for tests, not for thousands."""
    sql_threads: int = 2
    sql_limit_seconds: float = 5.0
