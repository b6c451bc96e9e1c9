"""Where the programs of the wheels lie."""

import shutil
import sysconfig
from pathlib import Path


def find_program(name: str, *, package: str) -> str:
    """Return the path of a program that a wheel put beside python, else the one on PATH.

    Raises:
        RuntimeError: it is nowhere; the message names the package.

    """
    beside = Path(sysconfig.get_path("scripts")) / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} not found: run `make install` (package {package})")
    return found
