"""Bodies and configs of realistic size, the same at every run."""

from __future__ import annotations

import json

CONFIG_BYTES = 20 * 1024
LINE_BYTES = 544  # a process event of recorded traffic
LINES = 100
ROWS = 10

READ = '{"node_key":"{key}"}'
NOTHING = '{"queries":{}}'
UNCHANGED = '{"etag":"ok"}'


def config_of(size: int = CONFIG_BYTES) -> bytes:
    """Return an osquery config of exactly `size` bytes: options, and as many scheduled queries as fit."""
    schedule: dict[str, object] = {}
    config = {"options": {"distributed_interval": 10, "logger_tls_period": 10}, "schedule": schedule}
    while len(encoded(config)) < size - 400:
        number = len(schedule)
        schedule[f"pack/baseline/query_{number:03d}"] = {
            "query": f"SELECT name, version, arch, install_time FROM rpm_packages WHERE size > {number};",
            "interval": 3600 + number,
            "snapshot": False,
            "platform": "linux,darwin",
        }
    config["padding"] = {}
    room = size - len(encoded(config | {"padding": {"note": ""}}))
    return encoded(config | {"padding": {"note": "x" * room}})


def log_body(node_key: str = "{key}") -> bytes:
    """Return a log POST of 100 lines of 544 bytes; `node_key` stands last, where osqueryd puts it."""
    lines = [_line(number) for number in range(LINES)]
    return b'{"data":[' + b",".join(lines) + b'],"log_type":"result","node_key":"' + node_key.encode() + b'"}'


def _line(number: int) -> bytes:
    line = {
        "name": "pack/baseline/process_events",
        "hostIdentifier": "C8E1F3A2-5A0B-4E4B-9B59-0D3C5C1F7A11",
        "calendarTime": "Tue Nov 24 10:00:00 2026 UTC",
        "unixTime": 1795514400 + number,
        "epoch": 0,
        "counter": number,
        "numerics": False,
        "decorations": {"host_uuid": "C8E1F3A2-5A0B-4E4B-9B59-0D3C5C1F7A11", "hostname": "host.example.org"},
        "columns": {"pid": str(20000 + number), "path": "/usr/bin/find", "uid": "1000", "cmdline": ""},
        "action": "added",
    }
    columns = line["columns"]
    assert isinstance(columns, dict)
    columns["cmdline"] = "x" * (LINE_BYTES - len(encoded(line)))
    return encoded(line)


def write_body(campaign_id: int) -> bytes:
    """Return a `distributed/write` with ten rows for one campaign."""
    name = f"fleet_distributed_query_{campaign_id}_1_{campaign_id:032x}"
    rows, stats = rows_and_stats()
    answer = {"node_key": "{key}", "queries": {name: rows}, "statuses": {name: 0}, "messages": {}}
    return encoded(answer | {"stats": {name: stats}})


def rows_and_stats() -> tuple[list[dict[str, str]], dict[str, int]]:
    """Return what a host answers: ten rows, and what they cost it."""
    row = {
        "pid": "20001",
        "name": "systemd-journal",
        "path": "/usr/lib/systemd/systemd-journald",
        "cmdline": "/lib/systemd/systemd-journald",
        "state": "S",
        "cwd": "/",
        "root": "/",
        "uid": "0",
        "gid": "0",
        "parent": "1",
    }
    rows = [{**row, "pid": str(20001 + number)} for number in range(ROWS)]
    return rows, {"wall_time_ms": 12, "user_time": 8, "system_time": 4, "memory": 65536}


def encoded(value: object) -> bytes:
    """Return compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()
