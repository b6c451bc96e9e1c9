"""`make test`: everything that must be green, or one part of it (`make test S=live-query`).

Runs style, types and imports first (seconds), then every test on real servers, in parallel. Prints how long each step
took; ends with the first step that fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PARTS = ("libs", "services", "tools")
TESTS = Path("tests")
"""Its folders are parts too; they have no types to check, as `exclude` of mypy in pyproject.toml says."""


def main() -> int:
    """Run all steps, or those of one part."""
    part = find_part(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1] else None
    started = time.monotonic()
    for name, command in steps(part):
        print(f"== {name}", flush=True)
        began = time.monotonic()
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        print(f"== {name}: {'ok' if status == 0 else 'FAILED'} in {time.monotonic() - began:.0f} s", flush=True)
        if status != 0:
            return status
    print(f"== all green in {time.monotonic() - started:.0f} s", flush=True)
    return 0


def find_part(name: str) -> Path:
    """Return the folder of a member, or of tests across members, by its name."""
    folders = [path for folder in (*PARTS, TESTS) for path in sorted((ROOT / folder).iterdir())]
    parts = {path.name: path.relative_to(ROOT) for path in folders if (path / "pyproject.toml").exists()}
    parts |= {path.name: path.relative_to(ROOT) for path in folders if next(path.glob("test_*.py"), None)}
    if name not in parts:
        raise SystemExit(f"no part is called {name}; try one of: {', '.join(sorted(parts))}")
    return parts[name]


def steps(part: Path | None) -> list[tuple[str, list[str]]]:
    """Return what to run, in order."""
    where = [str(part)] if part else []
    workers = os.environ.get("FLOTILLA_TEST_WORKERS", str(max(2, (os.cpu_count() or 2) + 1)))
    tests = [str(part / "tests") if part and (part / "tests").is_dir() else str(part)] if part else []
    types = [] if part and part.is_relative_to(TESTS) else [("types", [str(BIN / "mypy"), *where])]
    return [
        ("style", [str(BIN / "ruff"), "check", *(where or ["."])]),
        ("format", [str(BIN / "ruff"), "format", "--check", *(where or ["."])]),
        *types,
        ("imports", [str(BIN / "lint-imports"), "--no-cache"]),
        ("tests", [sys.executable, "-m", "pytest", "-q", "-n", workers, "--dist", "loadgroup", *tests]),
    ]


if __name__ == "__main__":
    sys.exit(main())
