"""`python -m admin_api.openapi FILE`: write the OpenAPI document."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from admin_api.app import build_app


def main(arguments: list[str]) -> int:
    """Write the document to the file named by the only argument."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m admin_api.openapi FILE\n")
        return 2
    Path(arguments[0]).write_text(json.dumps(build_app().openapi(), indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
