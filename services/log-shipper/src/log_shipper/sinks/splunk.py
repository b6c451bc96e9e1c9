"""Splunk's HTTP Event Collector (HEC): lines as JSON events.

HEC reads a request event by event and stops at one it does not take. `invalid-event-number` tells which, from 0 or from
1, and other software that speaks HEC takes nothing of such a request. So no event counts as taken before an answer says
so: those before the bad one are sent again, and are counted as lines that may be there twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import msgspec
from pydantic import Field

from log_shipper.errors import DestinationDown
from log_shipper.http_client import NOT_TAKEN, HeaderSecret, HttpSettings, Refused, Reply, check, printable
from log_shipper.http_sending import Delivery, HttpSink, Record
from log_shipper.json_lines import is_json, text_of
from log_shipper.sinks import Kind, Line

EVENT_PATH = "/services/collector/event"
ACK_PATH = "/services/collector/ack"
BAD_EVENT = frozenset({6, 12, 13, 15})
"""Codes about one event: no valid JSON, no event, an empty one, wrong fields."""
WRONG_SETTINGS = frozenset({5, 7, 10, 11, 14, 16})
"""Codes about all events: no data, index, data channel missing or wrong, no acknowledgements, no such authorization."""
FIRST_LOOK_SECONDS = 0.25
LONGEST_LOOK_SECONDS = 5.0


class Settings(HttpSettings):
    """Settings of a Splunk destination."""

    token: HeaderSecret = Field(description="token of the HTTP Event Collector")
    index: str = Field("", description="index; empty: the token's", max_length=255)
    source: str = Field("", description="source; empty: the token's", max_length=255)
    sourcetype: str = Field("", description="source type; empty: the token's", max_length=255)
    acknowledge: bool = Field(False, description="wait until indexers have the lines; the token must have this on")
    acknowledge_seconds: float = Field(120.0, description="how long to wait for that", gt=0, le=600)
    max_request_bytes: int = Field(
        1_000_000,
        description="largest request, uncompressed; a longer event is dead-lettered",
        ge=1024,
        le=800_000_000,
    )


class SplunkSink(HttpSink):
    """Posts lines to an event collector."""

    def __init__(self, settings: Settings) -> None:
        self._is_acknowledged = settings.acknowledge
        headers = {"authorization": f"Splunk {settings.token.get_secret_value()}", "content-type": "application/json"}
        if settings.acknowledge:
            headers["x-splunk-request-channel"] = str(uuid4())
        # Acknowledgements are known to the collector that took the request: cookies lead to it through a balancer.
        super().__init__(settings, headers, keeps_cookies=settings.acknowledge)
        self._acknowledge_seconds = settings.acknowledge_seconds
        given = {"index": settings.index, "source": settings.source, "sourcetype": settings.sourcetype}
        self._metadata = {name: value for name, value in given.items() if value}

    def encode(self, line: Line) -> bytes:
        """Return an event: the line as it came when it is a JSON object, as a string else."""
        raw = line.raw.strip()
        if not raw:
            raise Refused("an empty line is no event")
        is_object = raw.startswith(b"{") and is_json(raw)
        event = {
            "time": msgspec.Raw(b"%d.%03d" % divmod(line.received_ms, 1000)),
            **self._metadata,
            "fields": {
                "flotilla_host_id": str(line.host_id),
                "flotilla_team_id": str(line.team_id),
                "flotilla_log_type": line.log_type,
            },
            "event": msgspec.Raw(raw) if is_object else text_of(line.raw),
        }
        return msgspec.json.encode(event) + b"\n"

    async def send(self, records: Sequence[Record], delivery: Delivery) -> None:
        """Post, and believe nothing but HEC's own word for success."""
        body, headers = await self.client.pack(b"".join(record.body for record in records))
        reply = await delivery.post(EVENT_PATH, body, headers, records)
        answer = _members(reply)
        if reply.status != 200 or answer.get("code") != 0:
            self._explain(reply, answer, records, delivery)
        if self._is_acknowledged:
            await self._wait_until_indexed(answer, records, delivery)
        delivery.accept(records)

    def _explain(self, reply: Reply, answer: dict[str, Any], records: Sequence[Record], delivery: Delivery) -> None:
        """Raise what an answer other than success means."""
        code, number = answer.get("code"), answer.get("invalid-event-number")
        at = number if type(number) is int and 0 <= number <= len(records) else None
        if at is not None:
            delivery.doubt(records[:at])
        if code in WRONG_SETTINGS:
            raise DestinationDown(f"its settings are wrong, here or at Splunk: {_said(reply, answer)}")
        if reply.status == 400 and code in BAD_EVENT:
            if at is None and len(records) > 1:
                delivery.doubt(records)
            raise Refused(_said(reply, answer), around=at)
        check(reply)
        delivery.doubt(records)
        raise DestinationDown(f"that is not the answer of an event collector: {reply}")

    async def _wait_until_indexed(self, answer: dict[str, Any], records: Sequence[Record], delivery: Delivery) -> None:
        number = answer.get("ackId")
        is_indexed = False
        try:
            if type(number) is not int:
                raise DestinationDown("it acknowledges nothing: turn indexer acknowledgement on for the token")
            await self._poll(number)
            is_indexed = True
        finally:
            if not is_indexed:
                delivery.doubt(records)

    async def _poll(self, number: int) -> None:
        """Ask until the request with this number is indexed. Raises DestinationDown when that takes too long."""
        began, wait = time.monotonic(), FIRST_LOOK_SECONDS
        body = msgspec.json.encode({"acks": [number]})
        while time.monotonic() < began + self._acknowledge_seconds:
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_LOOK_SECONDS)
            if await self._is_indexed(body, number):
                return
        raise DestinationDown(f"its indexers did not acknowledge a request within {self._acknowledge_seconds:g} s")

    async def _is_indexed(self, body: bytes, number: int) -> bool:
        try:
            reply = await self.client.post(ACK_PATH, body, {}, lambda: None)
        except DestinationDown:
            return False  # the request itself came through: ask again
        if 400 <= reply.status < 500 and reply.status not in NOT_TAKEN:
            raise DestinationDown(f"it does not tell of acknowledgements: {reply}")
        acks = _members(reply).get("acks")
        return isinstance(acks, dict) and acks.get(str(number)) is True


def _members(reply: Reply) -> dict[str, Any]:
    answer = reply.json()
    return answer if isinstance(answer, dict) else {}


def _said(reply: Reply, answer: dict[str, Any]) -> str:
    return f"status {reply.status}, code {answer.get('code')}: {printable(str(answer.get('text', '')))}"


KIND = Kind(Settings, SplunkSink)
