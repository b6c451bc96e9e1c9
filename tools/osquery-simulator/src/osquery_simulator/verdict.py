"""What osqueryd makes of an answer's body. It looks at nothing else: every status is the same to it."""

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NoReturn

DEPTH_LIMIT = 32  # levels of JSON; osquery's parser refuses more


class Judgement(Enum):
    """The four things that an answer can mean."""

    SUCCESS = "success"
    FAILURE = "failure"
    NODE_INVALID = "node_invalid"
    CRASH = "crash"
    """A bare string or number kills the worker process."""


@dataclass(frozen=True)
class Verdict:
    """A judged answer."""

    judgement: Judgement
    reason: str = ""
    document: dict[str, Any] = field(default_factory=dict)
    is_empty: bool = False

    @property
    def is_success(self) -> bool:
        """Tell whether osqueryd deletes, applies or goes on."""
        return self.judgement is Judgement.SUCCESS


def judge(body: bytes) -> Verdict:
    """Judge a body as osqueryd does.

    Observed: an empty body counts as {}, and null, true and arrays act like it; the presence of `error` fails whatever
    its value; only a JSON true in `node_invalid` drops the key.
    """
    if not body:
        return Verdict(Judgement.SUCCESS, is_empty=True)
    try:
        document = parse(body)
    except ValueError as error:
        return Verdict(Judgement.FAILURE, f"not JSON: {error}")
    if isinstance(document, dict):
        return _judge_object(document)
    if document is None or isinstance(document, list | bool):
        return Verdict(Judgement.SUCCESS)
    return Verdict(Judgement.CRASH, f"the whole answer is a bare {type(document).__name__}")


def _judge_object(document: dict[str, Any]) -> Verdict:
    if document.get("node_invalid") is True:
        return Verdict(Judgement.NODE_INVALID, "node_invalid", document)
    if "error" in document:
        return Verdict(Judgement.FAILURE, f"error: {document['error']}", document)
    return Verdict(Judgement.SUCCESS, document=document)


def node_key_in(body: bytes) -> str:
    """Find the key in an answer to an enrolment; `id` does as well, and an `error` beside it does not matter."""
    try:
        document = parse(body)
    except ValueError:
        return ""
    if not isinstance(document, dict):
        return ""
    key = document.get("node_key", document.get("id", ""))
    return key if isinstance(key, str) else ""


def parse(body: bytes) -> Any:
    """Parse strict JSON of at most 32 levels.

    Raises:
        ValueError: the body is anything else.

    """
    try:
        document = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _depth(document) > DEPTH_LIMIT:
        raise ValueError("nested too deeply")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _depth(document: Any) -> int:
    depth, level = 0, [document]
    while level:
        children = [
            list(item.values()) if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)
        ]
        level = [child for group in children for child in group]
        depth += bool(children)
    return depth
