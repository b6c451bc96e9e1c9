"""What destinations at Amazon's record services share: settings, and calls of many records with an answer for each.

A call may answer 200 and have failed for some of its records. Those alone are sent again. botocore's own retries are
off: it would send a whole call again after an answer that never came, and the books could not count that.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from log_shipper.errors import DestinationDown
from log_shipper.sinks import Batch, Limits, Line, Progress, Refusal, Target

CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0
CALL_SECONDS = 30.0  # with the look-up of credentials
CLOSE_SECONDS = 5.0
TRIES = 6  # in a row that brought no record over
FIRST_DELAY_SECONDS = 0.1  # doubles with each
LANES = 4  # calls in flight
WORDS = 300  # characters of a service's own text
THROTTLES = frozenset({
    "KMSThrottlingException", "LimitExceededException", "ProvisionedThroughputExceededException",
    "RequestLimitExceeded", "ServiceUnavailable", "ServiceUnavailableException", "SlowDown", "Throttling",
    "ThrottlingException", "TooManyRequestsException",
})  # fmt: skip
"""Codes that say: not taken, later perhaps."""
NEVER = frozenset(
    {"InvalidArgumentException", "RecordTooLargeException", "SerializationException", "ValidationException"}
)
"""Codes of one record that no retry can help."""
UNSURE = frozenset({"InternalFailure"})
"""Codes of one record that failed behind the door: it may have been written (API reference of PutRecordBatch)."""
SERVER_ERROR = 500
NAMED_RECORD = re.compile(r"records\.(\d+)\.member")  # how a refused call names the record that is wrong, from 1


class AwsSettings(BaseModel):
    """Settings that these kinds have in common."""

    model_config = ConfigDict(extra="forbid")

    region: str = Field("us-east-1", description="region", pattern=r"^[a-z0-9-]{1,32}$")
    endpoint: str = Field("", description="URL of the API; empty: Amazon's", pattern=r"^(https?://[^\s@]+)?$")
    access_key: str = Field("", description="access key id; empty: the role that log-shipper runs under")
    secret_key: SecretStr = Field(SecretStr(""), description="secret access key")
    session_token: SecretStr = Field(SecretStr(""), description="session token of temporary credentials")

    @model_validator(mode="after")
    def _credentials_are_whole(self) -> AwsSettings:
        if bool(self.access_key) != bool(self.secret_key.get_secret_value()):
            raise ValueError("access_key and secret_key go together")
        if self.session_token.get_secret_value() and not self.access_key:
            raise ValueError("session_token needs access_key and secret_key")
        return self


def borrows_identity(settings: AwsSettings) -> bool:
    """Whether a destination would sign as log-shipper's own role (or whatever botocore finds), not with its own key."""
    return not settings.access_key


@dataclass(frozen=True)
class Api:
    """How a service takes many records at once, and what it calls things."""

    service: str
    operation: str
    stream: str  # parameter that names the stream
    answers: str  # member of the answer: one entry for each record, in order
    id: str  # member of an entry whose record was taken
    most_records: int
    most_bytes: int  # of a call, as the service counts


@dataclass(frozen=True)
class Record:
    """One record: taken or not taken as a whole."""

    lines: Sequence[Line]
    entry: Mapping[str, Any]  # as the API takes it
    size_bytes: int  # as the service counts it

    @property
    def lane(self) -> int:
        """Records of one lane are sent in order."""
        return self.lines[0].host_id


Records = Callable[[Iterable[Line]], Iterator[Record]]
"""Makes records of lines."""


def packed(records: Iterable[Record], most_records: int, most_bytes: int) -> Iterator[list[Record]]:
    """Yield calls. A record larger than a call is a call of its own."""
    call: list[Record] = []
    size = 0
    for record in records:
        if call and (len(call) >= most_records or size + record.size_bytes > most_bytes):
            yield call
            call, size = [], 0
        call.append(record)
        size += record.size_bytes
    if call:
        yield call


def lines_of(records: Iterable[Record]) -> list[Line]:
    """Return the lines of records."""
    return [line for record in records for line in record.lines]


class RecordSink:
    """Sends lines as records to a stream, and keeps what became of each."""

    replaces = False

    def __init__(self, api: Api, settings: AwsSettings, stream: str, limits: Limits, records: Records) -> None:
        self.limits = limits
        self._api = api
        self._settings = settings
        self._stream = stream
        self._records = records
        self._opened = contextlib.AsyncExitStack()
        self._client: Any = None

    async def plan(self, first_sequence: int, last_sequence: int, started_at: object) -> Target:
        """There is nothing to decide."""
        del first_sequence, last_sequence, started_at
        return {}

    async def deliver(self, batch: Batch, target: Target) -> list[Refusal]:
        """Send what is missing; several calls are in flight, those of one host after each other."""
        del target
        await self._send(list(self._records(batch.missing())), batch.progress)
        return []

    async def try_out(self, line: bytes) -> str:
        """Send this line as a record."""
        progress = Progress()
        await self._send(list(self._records([Line(0, 0, "test", 0, 0, 0, line)])), progress)
        if progress.refusals:
            raise DestinationDown(progress.refusals[0].reason)
        return self._stream

    async def close(self) -> None:
        """Close the connections."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._opened.aclose()

    async def _send(self, records: list[Record], progress: Progress) -> None:
        if not records:
            return
        client = await self._connected()
        calls = len(list(self._packed(records)))
        lanes: list[list[Record]] = [[] for _ in range(min(LANES, calls))]
        for record in records:
            lanes[record.lane % len(lanes)].append(record)
        # None is cut off when another fails: its answer would be lost, and its lines sent twice.
        results = await asyncio.gather(
            *(self._send_lane(client, lane, progress) for lane in lanes), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _packed(self, records: Iterable[Record]) -> Iterator[list[Record]]:
        return packed(records, self._api.most_records, self._api.most_bytes)

    async def _send_lane(self, client: Any, records: list[Record], progress: Progress) -> None:
        for call in self._packed(records):
            await self._send_call(client, call, progress)

    async def _send_call(self, client: Any, records: list[Record], progress: Progress) -> None:
        """Send records until each is taken or refused. Raises DestinationDown after some tries that bring nothing."""
        tries = 0
        while True:
            left, reason = await self._try_call(client, records, progress)
            if not left:
                return
            tries = 1 if len(left) < len(records) else tries + 1
            if tries >= TRIES:
                raise self._down(f"{len(left)} records are not taken: {reason}")
            records = left
            await asyncio.sleep(FIRST_DELAY_SECONDS * 2 ** (tries - 1) * random.uniform(0.5, 1.0))  # noqa: S311

    async def _try_call(self, client: Any, records: list[Record], progress: Progress) -> tuple[list[Record], str]:
        """Make one call; return the records that must be sent again, and why."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - heavy
        from botocore.parsers import ResponseParserError  # noqa: PLC0415 - heavy

        try:
            answer = await self._call(client, records)
        except ClientError as error:
            return self._refused(error.response, records, progress)
        except BaseException as error:
            if not _never_left(error):
                progress.doubt(lines_of(records))
            if isinstance(error, BotoCoreError | ResponseParserError | OSError | TimeoutError):
                raise self._down(f"{type(error).__name__}: {error}") from error
            raise
        return self._settled(answer, records, progress)

    async def _call(self, client: Any, records: list[Record]) -> Any:
        entries = [record.entry for record in records]
        async with asyncio.timeout(CALL_SECONDS):
            return await getattr(client, self._api.operation)(Records=entries, **{self._api.stream: self._stream})

    def _refused(
        self, answer: Mapping[str, Any], records: list[Record], progress: Progress
    ) -> tuple[list[Record], str]:
        """Read an answer that is about the whole call."""
        error = answer.get("Error", {})
        code, message = str(error.get("Code", "")), str(error.get("Message", ""))
        reason = f"{code}: {message}"[:WORDS]
        if code in THROTTLES:
            return records, reason
        if int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", SERVER_ERROR)) >= SERVER_ERROR:
            progress.doubt(lines_of(records))  # it failed somewhere behind: what it had stored by then nobody knows
            return records, reason
        named = NAMED_RECORD.search(message)
        number = int(named[1]) - 1 if named is not None and code in NEVER else -1
        if not 0 <= number < len(records):
            raise self._down(reason)
        for line in records[number].lines:
            progress.refuse(line, f"{self._stream}: {reason}")
        return [*records[:number], *records[number + 1 :]], reason

    def _settled(self, answer: Any, records: list[Record], progress: Progress) -> tuple[list[Record], str]:
        """Read what an answer says of each record. What it does not speak of is doubtful."""
        entries = answer.get(self._api.answers) if isinstance(answer, Mapping) else None
        entries = entries if isinstance(entries, list) else []
        left: list[Record] = []
        reason = f"the answer speaks of {len(entries)} of {len(records)} records"
        for number, record in enumerate(records):
            entry = entries[number] if number < len(entries) else None
            entry = entry if isinstance(entry, Mapping) else {}
            code, message = str(entry.get("ErrorCode") or ""), str(entry.get("ErrorMessage") or "")
            if code in NEVER:
                for line in record.lines:
                    progress.refuse(line, f"{self._stream}: {code}: {message}"[:WORDS])
            elif code:
                if code in UNSURE:
                    progress.doubt(record.lines)
                left.append(record)
                reason = f"{code}: {message}"[:WORDS]
            elif entry.get(self._api.id):
                progress.accept(record.lines)
            else:
                progress.doubt(record.lines)
                left.append(record)
        return left, reason

    async def _connected(self) -> Any:
        """Return the client, made at the first call: whoever has no such destination does without the library."""
        if self._client is not None:
            return self._client
        from aiobotocore.config import AioConfig  # noqa: PLC0415 - heavy
        from aiobotocore.session import get_session  # noqa: PLC0415 - heavy
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - heavy

        settings = self._settings
        own = {
            "aws_access_key_id": settings.access_key,
            "aws_secret_access_key": settings.secret_key.get_secret_value(),
            "aws_session_token": settings.session_token.get_secret_value() or None,
        }
        client = get_session().create_client(
            self._api.service,
            region_name=settings.region,
            endpoint_url=settings.endpoint or None,
            config=AioConfig(
                connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"total_max_attempts": 1}
            ),
            **(own if settings.access_key else {}),
        )
        try:
            async with asyncio.timeout(CALL_SECONDS):
                self._client = await self._opened.enter_async_context(client)
        except (BotoCoreError, OSError, TimeoutError, ValueError) as error:
            raise self._down(f"{type(error).__name__}: {error}") from error
        return self._client

    def _down(self, reason: str) -> DestinationDown:
        return DestinationDown(f"{self._api.service} stream {self._stream}: {reason}"[: 2 * WORDS])


def _never_left(error: BaseException) -> bool:
    """Whether a call certainly did not reach the service.

    aiobotocore says EndpointConnectionError also when a connection breaks after the request went out (httpsession.py,
    `send`, 3.10): only what it was made of tells.
    """
    from aiohttp import ClientConnectorError  # noqa: PLC0415 - heavy
    from botocore.exceptions import BotoCoreError, EndpointConnectionError, HTTPClientError  # noqa: PLC0415 - heavy

    if isinstance(error, EndpointConnectionError):
        return isinstance(error.kwargs.get("error"), ClientConnectorError | socket.gaierror)
    return isinstance(error, BotoCoreError) and not isinstance(error, HTTPClientError)
