"""Destinations that a file names (YAML or JSON): FLOTILLA_DESTINATIONS_CONFIG. It is read again when it changes.

    destinations:
      - name: siem
        kind: splunk
        settings:
          url: https://splunk.example.com:8088
          token: {from_file: /run/secrets/hec_token}
        filter: {log_types: [result]}

A setting may be `{from_file: PATH}` or `{from_environment: NAME}`, so that the file can be kept where everybody reads.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from flotilla_common.contracts.log_destinations import Destination
from flotilla_common.errors import Invalid
from pydantic import ValidationError

from log_shipper.domain.specs import checked, explained, place_of

MEMBER = "destinations"
LARGEST_BYTES = 1024 * 1024
AGAIN_SECONDS = 30.0


def read(path: Path, environment: Mapping[str, Destination] | None = None) -> tuple[Destination, ...]:
    """Read a file. What the `environment` names stands beside what is found, and before one of the same name.

    Raises:
        Invalid: it cannot be read, or says what makes no sense; the text tells where.

    """
    try:
        content = path.read_bytes()
        document = yaml.safe_load(content[:LARGEST_BYTES]) if len(content) <= LARGEST_BYTES else None
    except (OSError, yaml.YAMLError, RecursionError) as error:
        raise Invalid(f"{path}: {error}") from error
    if not isinstance(document, dict) or set(document) != {MEMBER} or not isinstance(document[MEMBER], list):
        raise Invalid(f"{path}: it must have one member, `{MEMBER}`, a list")
    found = tuple(_destination(path, number, entry) for number, entry in enumerate(document[MEMBER]))
    names = [one.name for one in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Invalid(f"{path}: these names are given twice: {', '.join(twice)}")
    _are_apart(path, {one.name: one for one in found} | dict(environment or {}))
    return found


def _are_apart(path: Path, destinations: Mapping[str, Destination]) -> None:
    names: dict[tuple[str, str], str] = {}
    for name, spec in destinations.items():
        place = place_of(spec)
        if place is None:
            continue
        other = names.setdefault((spec.kind, place), name)
        if other != name:
            raise Invalid(f"{path}: {other} and {name} would both write to {place}: each needs a place of its own")


def _destination(path: Path, number: int, entry: object) -> Destination:
    where = f"{path}: {MEMBER}[{number}]"
    try:
        spec = Destination.model_validate(entry)
        settings = {name: _value(value) for name, value in spec.settings.items()}
        return checked(spec.model_copy(update={"settings": settings}))
    except ValidationError as error:
        raise Invalid(f"{where}: {explained(error)}") from None
    except (Invalid, OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{where}: {error}") from error


def _value(value: Any) -> Any:
    """Return a setting's value, fetched where the file says it is."""
    match value:
        case {"from_file": str(path)} if len(value) == 1:
            return Path(path).read_text(encoding="utf-8").strip()
        case {"from_environment": str(name)} if len(value) == 1:
            if name not in os.environ:
                raise Invalid(f"there is no environment variable {name}")
            return os.environ[name]
    return value


class ConfigFile:
    """The file as it was when it last made sense."""

    def __init__(self, path: Path, environment: Mapping[str, Destination] | None = None) -> None:
        self._path = path
        self._environment = environment
        self._seen: tuple[int, int, int] | None = None
        self._read_at = 0.0
        self.destinations: Mapping[str, Destination] = {}
        self.makes_sense = True

    def look(self) -> None:
        """Read the file when it has changed, and now and then, since the secrets that it points to may have.

        Raises:
            Invalid: it was read and makes no sense; `destinations` are those of before.

        """
        try:
            self._look()
        except Invalid:
            self.makes_sense = False
            raise

    def _look(self) -> None:
        try:
            found = self._path.stat()
        except OSError as error:
            self._seen = None
            raise Invalid(f"{self._path}: {error}") from error
        seen = found.st_mtime_ns, found.st_size, found.st_ino
        if seen == self._seen and time.monotonic() < self._read_at + AGAIN_SECONDS:
            return
        self._seen, self._read_at = seen, time.monotonic()
        self.destinations = {one.name: one for one in read(self._path, self._environment)}
        self.makes_sense = True
