"""What the parts say: prefixed and coloured on the console, complete in bounded files."""

import json
import re
import sys
from pathlib import Path
from typing import Final, TextIO

MAX_FILE_BYTES: Final = 10 * 1024 * 1024
"""A log file above this size becomes NAME.log.1, so a part keeps at most twice as much."""
COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)
QUIET_LEVELS = {"debug", "info"}
NOISE = re.compile(r"^(\[\d+\]|\d+:[CMS] |LOG:|DETAIL:|HINT:|STATEMENT:|127\.0\.0\.1 - |\s*$| \* )")
"""How the servers begin a line that is not JSON: NATS, Valkey, Postgres, moto."""
EXPECTED = re.compile(
    r"the database system is (starting up|not yet accepting|shutting down)|Memory overcommit must be enabled"
    r"|admin endpoint disabled|Plaintext passwords detected|development server|Press CTRL\+C to quit"
)
"""Warnings that are true and harmless on a developer's machine; the files have them."""
TERMINAL_CODES = re.compile(r"\033\[[0-9;]*m")
ALARM = re.compile(r"\[(WRN|ERR|FTL)\]|\b(ERROR|FATAL|PANIC):|\] Error|# (WARNING|Fatal)", re.IGNORECASE)


class LogFile:
    """One part's log with a bounded size."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self.max_bytes = max_bytes
        self._file = path.open("ab", buffering=0)

    def write(self, line: bytes) -> None:
        """Append a line; begin a new file when this one is full."""
        if self._file.tell() + len(line) > self.max_bytes:
            self._file.close()
            self.path.replace(self.path.with_name(self.path.name + ".1"))
            self._file = self.path.open("ab", buffering=0)
        self._file.write(line + b"\n")

    def tail(self, lines: int = 15) -> str:
        """Return the last lines."""
        return "\n".join(self.path.read_text(errors="replace").splitlines()[-lines:])

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Console:
    """The terminal: everything of the stack itself, and of the parts what matters (or all, if `verbose`)."""

    def __init__(self, stream: TextIO | None = None, *, verbose: bool = False) -> None:
        self._stream = stream or sys.stdout
        self._colour = self._stream.isatty()
        self._verbose = verbose
        self._width = 8
        self._broken = False
        self._hushed = False
        self._known: dict[str, int] = {}

    def say(self, text: str) -> None:
        """Print a message of the stack itself."""
        self._write(text)

    def line(self, name: str, line: str, *, is_quiet: bool = False) -> None:
        """Print a line of a part, unless it is of no interest now, as all are of a quiet part."""
        text, matters = digest(TERMINAL_CODES.sub("", line))
        if not self._verbose and (is_quiet or self._hushed or not matters or is_expected(line)):
            return
        self._width = max(self._width, len(name))
        prefix = f"{name:<{self._width}} |"
        if self._colour:
            colour = COLOURS[self._known.setdefault(name, len(self._known)) % len(COLOURS)]
            prefix = f"\033[{colour}m{prefix}\033[0m"
        self._write(f"{prefix} {text}")

    def hush(self) -> None:
        """Show no more lines of parts: what they say while they stop stands in the files."""
        self._hushed = not self._verbose

    def bold(self, text: str) -> str:
        """Return the text as a heading where the console can show one."""
        return f"\033[1m{text}\033[0m" if self._colour else text

    def _write(self, text: str) -> None:
        if self._broken:
            return
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except BrokenPipeError:
            # Whoever read our output has gone (`make run | head`); the files still have every line.
            self._broken = True


def digest(line: str) -> tuple[str, bool]:
    """Return a line as people read it, and whether it matters: warnings and errors, tracebacks, plain words."""
    if line.startswith("{"):
        try:
            fields = json.loads(line)
        except ValueError:
            return line, True
        level = str(fields.pop("level", "info")).lower()
        message = fields.pop("event", None) or fields.pop("msg", None) or fields.pop("message", "")
        for known in ("timestamp", "ts", "time", "service"):
            fields.pop(known, None)
        rest = " ".join(f"{name}={in_short(str(value))}" for name, value in fields.items())
        return f"{level:<7} {message} {rest}".rstrip(), level not in QUIET_LEVELS
    return line, bool(ALARM.search(line)) or not NOISE.match(line)


def in_short(value: str) -> str:
    """Return the last line of a traceback and the first of any other text; the files have all of it."""
    lines = value.strip().splitlines() or [""]
    if not lines[0].startswith("Traceback"):
        return lines[0]
    causes = [line for line in lines if line and not line.startswith((" ", "Traceback", "[", "("))]
    return causes[-1] if causes else lines[-1]


def is_expected(line: str) -> bool:
    """Tell whether a warning says nothing new."""
    return EXPECTED.search(line) is not None
