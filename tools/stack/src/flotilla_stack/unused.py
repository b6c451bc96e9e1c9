"""`python -m flotilla_stack.unused DIR`: end with 1 while a supervisor runs there, as `make clean` wants to know.

It needs no package but this one: there may be no virtual environment any more.
"""

import sys
from pathlib import Path

from flotilla_stack.home import Home, InUseError, default_home, hold


def main(arguments: list[str] | None = None) -> int:
    """Look at a directory, and at that of FLOTILLA_HOME, whose processes run from the same virtual environment."""
    [given] = sys.argv[1:] if arguments is None else arguments
    for path in dict.fromkeys((Path(given).absolute(), default_home())):
        home = Home(path)
        try:
            if home.lock.exists():
                with hold(home):
                    continue
        except InUseError as error:
            where = f"Flotilla runs in {path} (supervisor pid {error.pid})"
            print(f"{where}, nothing is removed: stop it with Ctrl-C in its terminal first", file=sys.stderr)
            return 1
        except OSError as error:
            print(f"cannot see whether Flotilla runs in {path}: {error.strerror}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
