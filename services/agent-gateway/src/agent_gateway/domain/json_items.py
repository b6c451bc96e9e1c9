"""Count and cut the items of JSON without building them: three bytes, `{},`, may ask for 70 of memory.

Nothing is claimed of text that is no JSON: a parser comes afterwards. No step looks at more than WINDOW bytes, so that
a thread which does this leaves the event loop its turns. `regex`, not `re`: possessive patterns are wrong in Python's
own before 3.11.5.
"""

from __future__ import annotations

from collections.abc import Iterator

import regex

from agent_gateway.errors import Malformed

MEMBERS_LIMIT = 250_000  # lines, or results, in one body; osqueryd sends 1,024 lines at once unless told otherwise
DEPTH_LIMIT = 1000  # no parser here goes deeper
ITEM_DEPTH_LIMIT = 500  # what is deeper is cut out of a body that cannot be parsed with it
BRACKETS_LIMIT = 500_000  # two microseconds each
ALL_BRACKETS_LIMIT = 2_000_000  # opened in one body, those in strings included
DENSE_BYTES = 8  # a body may have more, if there is not one in so many bytes: any row with a value is longer
STEPS = 2  # to be taken for an item; only brackets within brackets within brackets need more
WINDOW = 256 * 1024  # bytes
LEVELS = 8  # of brackets that one step skips in an item of a member

_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_NESTED = rb'[\[{](?:[^"\[\]{}]++|' + _STRING + rb")*+[\]}]"
for _ in range(LEVELS - 1):
    _NESTED = rb'[\[{](?:[^"\[\]{}]++|' + _STRING + rb"|" + _NESTED + rb")*+[\]}]"
_ITEM = regex.compile(rb'(?:[^"\[\]{},]++|' + _STRING + rb"|" + _NESTED + rb")*+", regex.DOTALL)
_HEAD = regex.compile(rb'(?:[^"\[\]{},]++|' + _STRING + rb")*+", regex.DOTALL)
_FLAT = rb'[\[{](?:[^"\[\]{}]++|' + _STRING + rb")*+[\]}]"  # where more levels fail, each would be looked at again
_ITEMS = regex.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb"|" + _FLAT + rb")*+", regex.DOTALL)
_BETWEEN = regex.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb")*+", regex.DOTALL)
_INSIDE = regex.compile(rb'(?:[^"\\]++|\\.)*+', regex.DOTALL)
_BRACKETS = (b"[", b"{", b"]", b"}")
_MEMBERS = 2  # the depth of what the members of the outermost object hold


def check_members(body: bytes, limit: int = MEMBERS_LIMIT) -> None:
    """Refuse an object whose members hold more items, together, than anybody needs.

    Raises:
        Malformed: they do, or are nested too deeply, or there is too much to look at.

    """
    if body.count(b",") <= limit:
        return
    if body.count(b"{") + body.count(b"[") > max(ALL_BRACKETS_LIMIT, len(body) // DENSE_BYTES):
        raise Malformed(f"more than {ALL_BRACKETS_LIMIT} brackets in one body, and little else")
    members, depth, position = 0, 1, body.find(b"{") + 1
    for _ in range(STEPS * (limit + 1)):
        if not 0 < depth <= DEPTH_LIMIT:
            break
        position = _skip(body, position, depth)
        what = body[position : position + 1]
        position += 1
        members += depth == _MEMBERS and what in (b",", b"]", b"}")
        if not what or what == b'"':
            return  # cut off
        if members > limit:
            raise Malformed(f"more than {limit} lines or results in one body")
        depth += (what in (b"[", b"{")) - (what in (b"]", b"}"))
    if depth:
        raise Malformed("nested too deeply")


def cut_items(array: bytes, size: int, items: int) -> tuple[bytes, bool]:
    """Return an array of the first items of one, not more than so many nor bytes; and whether some are left."""
    begun = array[: size - 1]
    position = end = begun.find(b"[") + 1
    for _ in range(items):
        position = _after_item(begun, position)
        follower = begun[position : position + 1]
        if follower not in (b",", b"]"):
            break
        end = position
        if follower == b"]":
            return array[: end + 1], False
        position += 1
    return array[:end] + b"]", True


def without_deep_items(body: bytes) -> tuple[bytes, int]:
    """Return the body with null for each item of a member that is nested too deeply to be parsed; and how many.

    Raises:
        Malformed: there is too much to look at.

    """
    kept: list[bytes] = []
    depth = deepest = begin = end = cut = 0
    for step, position in enumerate(_brackets(body)):
        if step == BRACKETS_LIMIT:
            raise Malformed("nested too deeply")
        if body[position : position + 1] in b"[{":
            if depth == _MEMBERS:
                begin, deepest = position, 0
            depth += 1
            deepest = max(deepest, depth)
            continue
        depth -= 1
        if depth == _MEMBERS and deepest > ITEM_DEPTH_LIMIT:
            kept += (body[end:begin], b"null")
            end, cut = position + 1, cut + 1
    return b"".join((*kept, body[end:])), cut


def _brackets(body: bytes) -> Iterator[int]:
    """Find each bracket that is in no string."""
    position = _run(_BETWEEN, body, 0)
    while body[position : position + 1] in _BRACKETS:
        yield position
        position = _run(_BETWEEN, body, position + 1)


def _after_item(body: bytes, position: int) -> int:
    """Return where an item ends; the end of the body, or a place where nothing of an array stands, when it does not."""
    found = _ITEM.match(body, position, position + WINDOW)
    if found is not None and body[found.end() : found.end() + 1] in (b",", b"]"):
        return int(found.end())
    depth = 0
    for _ in range(BRACKETS_LIMIT):
        position = _run(_ITEMS if depth else _HEAD, body, position)
        what = body[position : position + 1]
        depth += (what in (b"[", b"{")) - (what in (b"]", b"}"))
        if depth < 0 or what not in _BRACKETS:
            return position
        position += 1
    return len(body)


def _skip(body: bytes, position: int, depth: int) -> int:
    """Return where something comes that counts at this depth: a bracket, a comma, or the end of what makes sense."""
    if depth == _MEMBERS:
        found = _ITEM.match(body, position, position + WINDOW)
        if found is not None and body[found.end() : found.end() + 1] in (b",", b"]", b"}"):
            return int(found.end())
    return _run(_HEAD if depth <= _MEMBERS else _ITEMS, body, position)


def _run(pattern: regex.Pattern[bytes], body: bytes, position: int) -> int:
    """Return where a pattern ends that takes texts and strings. It never searches, and looks at one WINDOW at once.

    To search would look at a text without a bracket again from each of its bytes. And each step of a repetition is
    remembered until it ends, 150 bytes long.
    """
    while position < len(body):
        found = pattern.match(body, position, position + WINDOW)
        end = position if found is None else int(found.end())
        if body[end : end + 1] == b'"':
            position = _after_string(body, end)
            if position < 0:
                return end
        elif end == position or (end < position + WINDOW and pattern is not _ITEMS):
            return end
        else:
            position = end  # brackets that close behind the window are seen whole in the next
    return position


def _after_string(body: bytes, position: int) -> int:
    """Return where a string ends whose first quote is here; -1: nowhere."""
    position += 1
    while found := _INSIDE.match(body, position, position + WINDOW):
        if body[found.end() : found.end() + 1] == b'"':
            return int(found.end()) + 1
        if found.end() == position:
            break
        position = found.end()
    return -1
