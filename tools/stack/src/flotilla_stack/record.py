"""What the seed has made, by name, so that no later run makes again what a person has renamed or removed."""

import json
from pathlib import Path

from flotilla_stack.files import write_private
from flotilla_stack.home import read_json


class Record:
    """A file of names, written after each thing that was made: a run that dies in between is completed by the next."""

    def __init__(self, path: Path) -> None:
        self.is_new = not path.exists()
        """No earlier run has begun."""
        self._path = path
        made = read_json(path).get("made", [])
        self._made = [str(name) for name in made] if isinstance(made, list) else []

    def __contains__(self, name: str) -> bool:
        return name in self._made

    def begin(self) -> None:
        """Write down that this installation is ours to seed, before anything is made."""
        self.add()

    def add(self, *names: str) -> None:
        """Note what has been made."""
        self._made += [name for name in names if name not in self._made]
        write_private(self._path, json.dumps({"made": self._made}, indent=2) + "\n")
