"""Rows that differ from host to host, or change with time: made when a query asks for their table, kept nowhere."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from osquery_simulator.clock import Clock
from osquery_simulator.identity import Identity
from osquery_simulator.profiles import Profile, Row

OSQUERY_VERSION = "5.23.0"
PID = 812


@dataclass
class View:
    """What one host's SQL can see of it."""

    identity: Identity
    profile: Profile
    clock: Clock = field(default_factory=Clock)
    start_time: float = field(init=False)
    """When the worker process began."""
    met_at: float = field(init=False)
    """When the simulator met the machine."""
    config_hash: str = ""
    config_valid: bool = False
    has_extensions: bool = False
    flags: Callable[[], list[Row]] = list
    schedule: Callable[[], list[Row]] = list
    packs: Callable[[], list[Row]] = list
    carves: Callable[[], list[Row]] = list

    def __post_init__(self) -> None:
        self.start_time = self.met_at = self.clock.unix()

    def restart(self) -> None:
        """Begin as a new process."""
        self.start_time = self.clock.unix()
        self.config_hash, self.config_valid, self.has_extensions = "", False, False


def system_info(view: View) -> list[Row]:
    """Hardware and names."""
    who = view.identity
    return [
        {
            "hostname": who.hostname,
            "uuid": who.uuid,
            "cpu_type": "arm64e" if view.profile.platform == "darwin" else "x86_64",
            "cpu_subtype": "2" if view.profile.platform == "darwin" else "151",
            "cpu_brand": who.cpu_brand,
            "cpu_physical_cores": who.cores,
            "cpu_logical_cores": who.cores * 2,
            "cpu_sockets": 1,
            "cpu_microcode": "0x1",
            "physical_memory": who.memory_bytes,
            "hardware_vendor": view.profile.vendor,
            "hardware_model": view.profile.model,
            "hardware_version": "1.0",
            "hardware_serial": who.serial,
            "computer_name": who.hostname,
            "local_hostname": who.hostname,
        }
    ]


def osquery_info(view: View) -> list[Row]:
    """The pretended osqueryd itself."""
    return [
        {
            "pid": PID,
            "uuid": view.identity.uuid,
            "instance_id": view.identity.instance_id,
            "version": OSQUERY_VERSION,
            "config_hash": view.config_hash,
            "config_valid": int(view.config_valid),
            "extensions": "active" if view.has_extensions else "inactive",
            "build_platform": view.profile.platform,
            "build_distro": view.profile.build_distro,
            "start_time": int(view.start_time),
            "watcher": PID - 2,
            "platform_mask": int(view.profile.platform_type),
        }
    ]


def platform_info(view: View) -> list[Row]:
    """The firmware."""
    return [{"vendor": view.profile.vendor, "version": "1.2.3", "date": "01/02/2024", "revision": "1.2", "extra": ""}]


def uptime(view: View) -> list[Row]:
    """How long the machine has been up, now."""
    total = int(view.identity.uptime_seconds + view.clock.unix() - view.met_at)
    minutes, seconds = divmod(total, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return [{"days": days, "hours": hours, "minutes": minutes, "seconds": seconds, "total_seconds": total}]


def time_of_day(view: View) -> list[Row]:
    """The time, now, always UTC."""
    now = datetime.fromtimestamp(view.clock.unix(), UTC)
    iso = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return [
        {
            "weekday": now.strftime("%A"),
            "year": now.year,
            "month": now.month,
            "day": now.day,
            "hour": now.hour,
            "minutes": now.minute,
            "seconds": now.second,
            "timezone": "UTC",
            "local_timezone": "UTC",
            "unix_time": int(now.timestamp()),
            "timestamp": calendar_time(int(now.timestamp())),
            "datetime": iso,
            "iso_8601": iso,
        }
    ]


def calendar_time(unix_time: int) -> str:
    """Write a time as osquery does: the day padded with a blank, always UTC."""
    return time.asctime(time.gmtime(unix_time)) + " UTC"


def interface_details(view: View) -> list[Row]:
    """One loopback and one card."""
    name = view.profile.interface
    return [
        {
            "interface": view.profile.loopback,
            "mac": "00:00:00:00:00:00",
            "type": 772,
            "mtu": 65536,
            "metric": 0,
            "flags": 73,
        },
        {"interface": name, "mac": view.identity.mac, "type": 1, "mtu": 1500, "metric": 0, "flags": 4163},
    ]


def interface_addresses(view: View) -> list[Row]:
    """Addresses of both interfaces."""
    who, name, own, kind = view.identity, view.profile.interface, view.profile.loopback, "unknown"
    return [
        {"interface": own, "address": "127.0.0.1", "mask": "255.0.0.0", "point_to_point": "127.0.0.1", "type": kind},
        {"interface": own, "address": "::1", "mask": ":".join(["ffff"] * 8), "type": kind},
        {"interface": name, "address": who.ipv4, "mask": "255.0.0.0", "broadcast": "10.255.255.255", "type": kind},
        {"interface": name, "address": who.ipv6, "mask": "ffff:ffff:ffff:ffff::", "type": kind},
    ]


def users(view: View) -> list[Row]:
    """The one person who works here."""
    who, platform = view.identity, view.profile.platform
    uid = {"linux": 1000, "darwin": 501, "windows": 1001}[platform]
    homes = {"linux": "/home/", "darwin": "/Users/", "windows": "C:\\Users\\"}
    shells = {"linux": "/bin/bash", "darwin": "/bin/zsh", "windows": "C:\\Windows\\system32\\cmd.exe"}
    row: Row = {
        "uid": uid,
        "gid": 20 if platform == "darwin" else uid,
        "uid_signed": uid,
        "gid_signed": uid,
        "username": who.user,
        "description": who.user.rstrip("0123456789").title(),
        "directory": homes[platform] + who.user,
        "shell": shells[platform],
    }
    return [row | ({"type": "local", "uuid": f"S-1-5-21-{who.index}-2-3-1001"} if platform == "windows" else {})]


def own_packages(view: View) -> list[Row]:
    """Two packages in versions that few other hosts have."""
    number = view.identity.package_number
    packages = [
        ("flotilla-example-tool", f"1.{number % 7}.{number % 10}"),
        (f"local-build-{number % 50}", f"0.{number}"),
    ]
    return [{"name": name, "version": version} for name, version in packages]


def processes(view: View) -> list[Row]:
    """The shell of the person who works here."""
    row = users(view)[0]
    shell = str(row["shell"]).replace("\\", "/").rsplit("/", 1)[-1]
    return [
        {"pid": 4000 + view.identity.index % 1000, "name": shell, "path": row["shell"], "uid": row["uid"], "parent": 1}
    ]


def memory_info(view: View) -> list[Row]:
    """Memory, half of it free."""
    total = view.identity.memory_bytes
    return [{"memory_total": total, "memory_free": total // 2, "memory_available": total // 2}]


Maker = Callable[[View], list[Row]]

REPLACED: Mapping[str, Maker] = {
    "carves": lambda view: view.carves(),
    "interface_addresses": interface_addresses,
    "interface_details": interface_details,
    "memory_info": memory_info,
    "osquery_flags": lambda view: view.flags(),
    "osquery_info": osquery_info,
    "osquery_packs": lambda view: view.packs(),
    "osquery_schedule": lambda view: view.schedule(),
    "platform_info": platform_info,
    "system_info": system_info,
    "time": time_of_day,
    "uptime": uptime,
}
"""Tables whose rows all come from the host."""

EXTENDED: Mapping[str, Maker] = {
    "deb_packages": own_packages,
    "homebrew_packages": own_packages,
    "processes": processes,
    "programs": own_packages,
    "rpm_packages": own_packages,
    "users": users,
}
"""Tables whose rows come from the profile, and some more from the host."""
