"""Elasticsearch and OpenSearch: a document for each line, by `_bulk`.

A document's id is made of what the line is and where it stood, so that sending it again makes no second one: `create`
answers 409 for it. That holds within an index; a data stream or alias that rolled over meanwhile takes it once more.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from pydantic import AfterValidator, Field, SecretStr, model_validator

from log_shipper.errors import DestinationDown
from log_shipper.http_client import HeaderSecret, HttpSettings, Refused, Reply, check, printable
from log_shipper.http_sending import Delivery, HttpSink, Record
from log_shipper.json_lines import members_of, text_of
from log_shipper.sinks import Kind, Line

PATH = "/_bulk?filter_path=errors,items.*._id,items.*.status,items.*.error.type,items.*.error.reason"
INDEX = re.compile(r"[a-z0-9](?:[a-z0-9._-]|%[YmdH]|\{log_type\})*")
HOUR_MS = 3_600_000
LATEST_MS = 253_402_300_799_000  # the last second of year 9999
ALREADY_THERE = 409
WRONG = frozenset({400, 413, 422})  # nothing helps the document, if the index takes others
EXPLAINED_ITEMS = 3


def _checked_index(value: str) -> str:
    if not INDEX.fullmatch(value):
        raise ValueError("must be lower case letters, digits, . _ -, and may hold %Y %m %d %H and {log_type}")
    return value


class Settings(HttpSettings):
    """Settings of an Elasticsearch or OpenSearch destination."""

    index: Annotated[str, AfterValidator(_checked_index)] = Field(
        description="index, alias or data stream; %Y %m %d %H: when a line came (UTC), {log_type}: its type",
        max_length=200,
    )
    api_key: HeaderSecret = Field(SecretStr(""), description="encoded API key")
    username: str = Field("", description="user, when there is no API key", max_length=255)
    password: SecretStr = Field(SecretStr(""), description="the user's password")

    @model_validator(mode="after")
    def _one_way_in(self) -> Settings:
        if self.api_key.get_secret_value() and self.username:
            raise ValueError("give an api_key or a username, not both")
        if ":" in self.username:
            raise ValueError("a username has no colon")
        return self


class ElasticsearchSink(HttpSink):
    """Puts lines into indexes."""

    replaces = True  # as good as: what is sent again is found there

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, {"content-type": "application/x-ndjson", **_credentials(settings)})
        self._index = settings.index

    def encode(self, line: Line) -> bytes:
        """Return an action and its document: the line's own members, or the line as `message`, and where it is from."""
        members: dict[str, Any] | None = members_of(line.raw)
        if members is None or any(_is_ours(name) for name in members):
            members = {"message": text_of(line.raw)}
        document = members | {
            "@timestamp": _timestamp(line.received_ms),
            "flotilla": {"host_id": line.host_id, "team_id": line.team_id, "log_type": line.log_type},
        }
        action = {"create": {"_index": self.part_of(line), "_id": id_of(line)}}
        return msgspec.json.encode(action) + b"\n" + msgspec.json.encode(document) + b"\n"

    def part_of(self, line: Line) -> str:
        """Return the index."""
        return _index_of(self._index, line.log_type, line.received_ms // HOUR_MS)

    async def send(self, records: Sequence[Record], delivery: Delivery) -> None:
        """Post, and look for each record in the answer."""
        body, headers = await self.client.pack(b"".join(record.body for record in records))
        reply = await delivery.post(PATH, body, headers, records)
        check(reply)
        items = _items(reply)
        results = [(record, _Result.of(items.get(id_of(record.line)))) for record in records]
        delivery.accept([record for record, result in results if result.is_there])
        waiting: list[str] = []
        for record, result in results:
            if result.is_wrong:
                await delivery.refuse(record, Refused(result.reason))
            elif not result.is_there:
                waiting.append(result.reason)
        if waiting:
            raise DestinationDown(_summary(waiting, len(records)))


def id_of(line: Line) -> str:
    """Return the id of a line's document: the same whenever it is sent, another one for every other line.

    The numbers of a stream that is made anew begin again; the custody time and the line itself tell such lines apart.
    """
    digest = hashlib.blake2b(line.raw, digest_size=8, key=b"%d.%s" % (line.host_id, line.log_type.encode()))
    return f"{line.received_ms:011x}-{line.sequence:x}-{line.index:x}-{digest.hexdigest()}"


@lru_cache(maxsize=1024)  # a host's lines come many at a time
def _timestamp(received_ms: int) -> str:
    return _moment(received_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@lru_cache(maxsize=256)
def _index_of(pattern: str, log_type: str, hour: int) -> str:
    """Return the index of lines of a type that came in an hour (since 1970)."""
    return _moment(hour * HOUR_MS).strftime(pattern.replace("{log_type}", log_type))


def _moment(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(min(unix_ms, LATEST_MS) / 1000, UTC)


def _is_ours(name: str) -> bool:
    """Whether a host's member would pass for one of ours; dots in names stand for objects here."""
    return name in {"@timestamp", "flotilla"} or name.startswith(("@timestamp.", "flotilla."))


def _credentials(settings: Settings) -> dict[str, str]:
    if settings.api_key.get_secret_value():
        return {"authorization": f"ApiKey {settings.api_key.get_secret_value()}"}
    if not settings.username:
        return {}
    pair = f"{settings.username}:{settings.password.get_secret_value()}"
    return {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def _items(reply: Reply) -> dict[str, dict[str, Any]]:
    """Return id -> what the answer says of it; an answer that makes no sense says nothing."""
    answer = reply.json()
    listed = answer.get("items") if isinstance(answer, dict) else None
    found: dict[str, dict[str, Any]] = {}
    for item in listed if isinstance(listed, list) else ():
        result = item.get("create") if isinstance(item, dict) else None
        if isinstance(result, dict) and isinstance(result.get("_id"), str):
            found[result["_id"]] = result
    return found


@dataclass(frozen=True)
class _Result:
    """What the answer says of one document; `status` is 0 when it says nothing."""

    status: int
    reason: str

    @classmethod
    def of(cls, item: dict[str, Any] | None) -> _Result:
        status, error = (item.get("status"), item.get("error")) if item else (0, None)
        if type(status) is not int or not status:
            return cls(0, "the answer does not tell of it")
        if not isinstance(error, dict):
            return cls(status, f"status {status}")
        what, why = printable(str(error.get("type"))), printable(str(error.get("reason")))
        return cls(status, f"status {status}: {what}: {why}")

    @property
    def is_there(self) -> bool:
        return 200 <= self.status < 300 or self.status == ALREADY_THERE

    @property
    def is_wrong(self) -> bool:
        return self.status in WRONG


def _summary(reasons: Sequence[str], lines: int) -> str:
    kinds = list(dict.fromkeys(reasons))
    more = f"; and {len(kinds) - EXPLAINED_ITEMS} other reasons" if len(kinds) > EXPLAINED_ITEMS else ""
    return f"{len(reasons)} of {lines} lines were not taken: {'; '.join(kinds[:EXPLAINED_ITEMS])}{more}"


KIND = Kind(Settings, ElasticsearchSink)
