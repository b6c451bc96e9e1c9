"""What one member of the workspace needs at run time, told from the metadata of what is installed.

    python tools/needed.py flotilla-agent-gateway                   print the distributions, one a line
    python tools/needed.py --remove-others flotilla-agent-gateway   uninstall all others, pip last: for images

`requirements.lock` pins what all members, their tests and the development servers need together; an image installs it
by its hashes, then keeps its own part.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(name: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """Return the canonical names of a distribution and of all that it requires here, directly or not."""
    found: dict[str, set[str]] = {}
    waiting = [(canonicalize_name(name), extras)]
    while waiting:
        current, wanted = waiting.pop()
        known = found.get(current)
        if known is not None and wanted <= known:
            continue
        found[current] = (known or set()) | wanted
        waiting += [(canonicalize_name(item.name), frozenset(item.extras)) for item in required(current, wanted)]
    return set(found)


def required(name: str, extras: frozenset[str]) -> list[Requirement]:
    """Return the direct requirements that hold on this machine.

    Raises:
        PackageNotFoundError: the distribution is needed and not installed.

    """
    every = [Requirement(text) for text in distribution(name).requires or ()]
    return [item for item in every if item.marker is None or holds(item, extras)]


def holds(item: Requirement, extras: frozenset[str]) -> bool:
    """Whether a requirement's marker is true here, for one of the extras or for none."""
    marker = item.marker
    return marker is not None and any(marker.evaluate({"extra": extra}) for extra in extras | {""})


def main() -> int:
    """Print, or remove all others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--remove-others", action="store_true")
    parser.add_argument("name")
    arguments = parser.parse_args()
    try:
        keep = needed(arguments.name)
    except PackageNotFoundError as error:
        parser.error(f"{error.name} is not installed")
    if not arguments.remove_others:
        print("\n".join(sorted(keep)))
        return 0
    others = sorted({canonicalize_name(found.metadata["Name"]) for found in distributions()} - keep - {"pip"})
    return subprocess.run([sys.executable, "-m", "pip", "uninstall", "--yes", *others, "pip"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
