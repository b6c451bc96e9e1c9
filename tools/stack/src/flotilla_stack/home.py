"""The directory `.flotilla/`: who owns it, where things lie in it, and who runs in it now."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


class HomeError(Exception):
    """The directory cannot be used; the message says what to do."""


class InUseError(HomeError):
    """A supervisor runs in the directory."""

    def __init__(self, path: Path, pid: str) -> None:
        self.pid = pid
        super().__init__(
            f"Flotilla already runs in {path} (supervisor pid {pid}):"
            " stop it with Ctrl-C in its terminal, or start this one elsewhere with --home DIR"
        )


@dataclass(frozen=True)
class Home:
    """Paths inside one `.flotilla/`."""

    path: Path

    @property
    def lock(self) -> Path:
        """Held by the supervisor while it runs; contains its pid."""
        return self.path / "lock"

    @property
    def control(self) -> Path:
        """The socket of `ctl`."""
        return self.path / "control.sock"

    @property
    def logs(self) -> Path:
        """One file per part."""
        return self.path / "logs"

    @property
    def keys(self) -> Path:
        """Certificates and keys."""
        return self.path / "keys"

    @property
    def servers(self) -> Path:
        """One directory per server."""
        return self.path / "servers"

    @property
    def shipped(self) -> Path:
        """Where the file destination of log-shipper writes."""
        return self.path / "shipped"

    @property
    def blobs(self) -> Path:
        """The blob store: contents of carves."""
        return self.path / "blobs"

    @property
    def service_secrets(self) -> Path:
        """Passwords that the services and their servers share."""
        return self.path / "secrets.json"

    @property
    def owner_secrets(self) -> Path:
        """Passwords of the person and of the database owner."""
        return self.path / "owner.json"

    @property
    def ports(self) -> Path:
        """The ports of the last run."""
        return self.path / "ports.json"

    @property
    def dev(self) -> Path:
        """The description of the running stack for tools and tests."""
        return self.path / "dev.json"

    @property
    def enroll_secret(self) -> Path:
        """The enroll secret, as osqueryd wants it in a file."""
        return self.path / "enroll_secret"

    @property
    def flagfile(self) -> Path:
        """Flags for a real osqueryd."""
        return self.path / "osquery.flags"

    @property
    def osqueryd(self) -> Path:
        """Database, socket and pid file of that osqueryd."""
        return self.path / "osqueryd"

    @property
    def curl_config(self) -> Path:
        """CA and token for `curl -K`."""
        return self.path / "curl.conf"

    @property
    def api_token(self) -> Path:
        """The token of the stack's own user."""
        return self.path / "api_token"

    @property
    def seeded(self) -> Path:
        """What the seed has made."""
        return self.path / "seeded.json"

    @property
    def simulator(self) -> Path:
        """State of the simulated hosts."""
        return self.path / "simulator"


def default_home() -> Path:
    """Return FLOTILLA_HOME, else `.flotilla` in the current directory."""
    return Path(os.environ.get("FLOTILLA_HOME") or ".flotilla").absolute()


def open_home(path: Path) -> Home:
    """Create the directory with mode 0700, or check that the existing one is ours.

    Raises:
        HomeError: it belongs to another user, or cannot be made.

    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = path.stat().st_uid
    except OSError as error:
        raise HomeError(f"cannot use {path}: {error.strerror}; choose another place with --home DIR") from error
    if owner != os.geteuid():
        raise HomeError(
            f"{path} belongs to user {owner}, and you are user {os.geteuid()}:"
            " run as that user, remove it, or choose another place with --home DIR"
        )
    path.chmod(0o700)
    return Home(path)


@contextlib.contextmanager
def hold(home: Home) -> Iterator[None]:
    """Keep a second supervisor out while this one runs.

    Raises:
        InUseError: another one runs.

    """
    descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InUseError(home.path, file.read().strip() or "unknown") from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def read_json(path: Path) -> dict[str, object]:
    """Return a JSON object, empty if the file is not there."""
    if not path.exists():
        return {}
    content: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return content
