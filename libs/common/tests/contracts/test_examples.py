"""Every message has a JSON example that is never edited: old messages must go on parsing."""

import importlib
import json
import pkgutil
from pathlib import Path

import flotilla_common.contracts
import pytest
from flotilla_common.contracts.base import Answer, Event, Message, Request

EXAMPLES = Path(__file__).parent / "examples"


def messages() -> list[type[Message]]:
    found: list[type[Message]] = []
    for info in pkgutil.iter_modules(flotilla_common.contracts.__path__):
        module = importlib.import_module(f"flotilla_common.contracts.{info.name}")
        own = [
            thing
            for thing in vars(module).values()
            if isinstance(thing, type) and thing.__module__ == module.__name__ and "[" not in thing.__name__
        ]
        found += [thing for thing in own if info.name != "base" and issubclass(thing, Event | Request | Answer)]
    return found


def says(newer: object, older: object) -> bool:
    """Whether all that the older text says is in the newer one: members are added, inside of members too."""
    if isinstance(older, dict) and isinstance(newer, dict):
        return all(name in newer and says(newer[name], value) for name, value in older.items())
    if isinstance(older, list) and isinstance(newer, list):
        return len(newer) == len(older) and all(says(*pair) for pair in zip(newer, older, strict=True))
    return newer == older


@pytest.mark.parametrize("message", messages(), ids=lambda message: message.__name__)
def test_the_example_still_parses_and_says_the_same(message):
    text = (EXAMPLES / f"{message.__name__}.json").read_text(encoding="utf-8")

    again = json.loads(message.model_validate_json(text).model_dump_json())

    assert says(again, json.loads(text)), again


def test_no_subject_is_used_twice():
    subjects = [message.subject for message in messages() if "subject" in vars(message)]

    assert len(subjects) == len(set(subjects))


def test_no_example_has_lost_its_message():
    names = {message.__name__ for message in messages()}

    assert {path.stem for path in EXAMPLES.glob("*.json")} <= names
