"""Streams at moto's Kinesis and Firehose, with a proxy before them that fails where a test says.

The proxy is a stand-in for what moto cannot do: fail for some records, throttle, answer late, wrong or never. All that
it lets by is moto's own.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp
from aiobotocore.session import get_session
from aiohttp import web
from log_shipper.sinks import Sink, kind_of

Answer = tuple[int, dict[str, Any]]
Forward = Callable[[list[dict[str, Any]]], Awaitable[Answer]]
"""Hands records to moto; returns its answer."""
Fault = Callable[[Forward, list[dict[str, Any]]], Awaitable[Answer]]
ANSWERS = {"kinesis": "Records", "firehose": "RequestResponses"}
KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "hush hush", "region_name": "us-east-1"}


def fails(code: str, *numbers: int) -> Fault:
    """Store all records but these (all, when none is named), which fail with a code in an answer of status 200."""

    async def fault(forward: Forward, records: list[dict[str, Any]]) -> Answer:
        failed = set(numbers or range(len(records)))
        kept = [one for number, one in enumerate(records) if number not in failed]
        answer = (await forward(kept))[1] if kept else {}
        [name] = [one for one in ANSWERS.values() if one in answer] or ["Records"]
        stored = iter(answer.get(name, []))
        wrong = {"ErrorCode": code, "ErrorMessage": "so the test wants"}
        entries = [wrong if number in failed else next(stored) for number in range(len(records))]
        return 200, dict.fromkeys(ANSWERS.values(), entries) | {"FailedRecordCount": len(failed)}

    return fault


def says(status: int, code: str, message: str = "so the test wants") -> Fault:
    """Store nothing and answer an error."""

    async def fault(forward: Forward, records: list[dict[str, Any]]) -> Answer:
        return status, {"__type": code, "message": message}

    return fault


def forgets(entries: int) -> Fault:
    """Store all, and speak of some alone."""

    async def fault(forward: Forward, records: list[dict[str, Any]]) -> Answer:
        status, answer = await forward(records)
        return status, {name: value[:entries] if isinstance(value, list) else value for name, value in answer.items()}

    return fault


def stores_and_says(status: int, code: str) -> Fault:
    """Store all and answer an error."""

    async def fault(forward: Forward, records: list[dict[str, Any]]) -> Answer:
        await forward(records)
        return status, {"__type": code, "message": "so the test wants"}

    return fault


async def breaks(forward: Forward, records: list[dict[str, Any]]) -> Answer:
    """Store all, and close the connection instead of an answer."""
    await forward(records)
    raise ConnectionResetError


@dataclass
class Stream:
    """A stream, and the proxy before it."""

    kind: str
    moto: str
    name: str
    bucket: str
    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    calls: list[list[bytes]] = field(default_factory=list)  # data of the records of each call
    held: asyncio.Event = field(default_factory=asyncio.Event)  # a call is stored, and not answered

    def open(self, **changes: object) -> Sink:
        """Make a sink that goes through the proxy."""
        own = {
            "endpoint": self.url, "stream": self.name, "access_key": "test", "secret_key": "hush hush",
        }  # fmt: skip
        return kind_of(self.kind).open(own | changes)

    async def holds(self, forward: Forward, records: list[dict[str, Any]]) -> Answer:
        """Store all, and never answer."""
        await forward(records)
        self.held.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def lines(self) -> list[bytes]:
        """What is in the stream, or behind it."""
        return await (self._in_kinesis() if self.kind == "kinesis" else self._in_bucket())

    async def records(self) -> list[dict[str, Any]]:
        """The records of a Kinesis stream, by shard."""
        async with get_session().create_client("kinesis", endpoint_url=self.moto, **KEYS) as client:
            found = []
            for shard in (await client.list_shards(StreamName=self.name))["Shards"]:
                place = await client.get_shard_iterator(
                    StreamName=self.name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
                )
                found += (await client.get_records(ShardIterator=place["ShardIterator"], Limit=10_000))["Records"]
            return found

    async def _in_kinesis(self) -> list[bytes]:
        return [record["Data"] for record in await self.records()]

    async def _in_bucket(self) -> list[bytes]:
        found: list[bytes] = []
        async with get_session().create_client("s3", endpoint_url=self.moto, **KEYS) as client:
            for entry in (await client.list_objects_v2(Bucket=self.bucket)).get("Contents", []):
                body = (await client.get_object(Bucket=self.bucket, Key=entry["Key"]))["Body"]
                found += (await body.read()).split(b"\n")[:-1]
        return found

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = "Records"
        self.calls.append([base64.b64decode(record["Data"]) for record in body[name]])

        async def forward(records: list[dict[str, Any]]) -> Answer:
            headers = {one: request.headers[one] for one in ("Authorization", "X-Amz-Target", "Content-Type")}
            async with aiohttp.ClientSession() as session:
                data = json.dumps(body | {name: records})
                async with session.post(self.moto, data=data, headers=headers) as answer:
                    return answer.status, json.loads(await answer.read())

        fault = self.faults.pop(0) if self.faults else None
        try:
            status, answer = await (fault(forward, body[name]) if fault else forward(body[name]))
        except ConnectionResetError:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.json_response(answer, status=status, content_type="application/x-amz-json-1.1")

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Run the proxy."""
        application = web.Application(client_max_size=50_000_000)
        application.router.add_post("/", self._handle)
        runner = web.AppRunner(application, handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        port = int(self.url.rpartition(":")[2]) if self.url else 0
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await runner.cleanup()


async def stream_at(kind: str, endpoint: str, bucket: str) -> Stream:
    """Make a stream at moto; what goes into a Firehose stream lands in the bucket."""
    name = f"logs-{uuid4().hex[:12]}"
    async with get_session().create_client(kind, endpoint_url=endpoint, **KEYS) as client:
        if kind == "kinesis":
            await client.create_stream(StreamName=name, ShardCount=2)
        else:
            target = {"RoleARN": "arn:aws:iam::123456789012:role/x", "BucketARN": f"arn:aws:s3:::{bucket}"}
            await client.create_delivery_stream(DeliveryStreamName=name, S3DestinationConfiguration=target)
    return Stream(kind, endpoint, name, bucket)


def without_newlines(calls: Collection[list[bytes]]) -> list[list[bytes]]:
    """The lines of calls whose records hold one line each."""
    return [[data.removesuffix(b"\n") for data in call] for call in calls]
