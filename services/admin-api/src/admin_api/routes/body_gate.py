"""Before FastAPI, and so before any login: how much of a body is taken, for how long, and in which form."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from admin_api.routes.envelope import DECODER_ERROR, PrettyJSON, failure
from admin_api.settings import Settings

BODY_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE", "GET"})
UNCOUNTED = 64 * 1024  # bytes of each body: what the HTTP server holds of a connection anyway, enough for a login
STEP = 1024 * 1024  # bytes that are inflated at once


@dataclass(frozen=True)
class BodyLimits:
    """How large one body may be (inflated), how much all may hold at once, and how long one may take to come."""

    one_bytes: int
    all_bytes: int
    seconds: float


def limits_of(settings: Settings) -> BodyLimits:
    """Return the limits that the settings say."""
    return BodyLimits(settings.body_limit_bytes, settings.bodies_limit_bytes, settings.body_seconds)


class _Refused(Exception):
    """The request ends with this answer."""

    def __init__(self, status: int, message: str, reason: str, **headers: str) -> None:
        super().__init__(reason)
        self._parts = status, message, [("base", reason)]
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(self) -> PrettyJSON:
        """Return the envelope."""
        return failure(*self._parts, headers=self._headers)


class _Left(Exception):
    """The client has gone: there is nobody to answer."""


class BodyGate:
    """The content type rule for browsers, gzip, and the limits. One gate for all requests of a process.

    A request with Origin or Referer must say exactly `application/json` (else a foreign page could post a form);
    from everybody else the body is taken as JSON whatever the header says.
    """

    def __init__(self, app: ASGIApp, limits: BodyLimits) -> None:
        self._app = app
        self._limits = limits
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer 400, 408, 413, 415 or 503."""
        if scope["type"] != "http" or scope["method"] not in BODY_METHODS or not scope["path"].startswith("/api"):
            await self._app(scope, receive, send)
            return
        with self._share() as share:  # until the answer: whoever handles the request holds the body
            try:
                body = await self._body(Headers(scope=scope), receive, share)
            except _Refused as refusal:
                await refusal.answer()(scope, receive, send)
            except _Left:
                return
            else:
                await self._app(_as_json(scope), _replay(_in_utf8(body), receive), send)

    @contextmanager
    def _share(self) -> Iterator[_Share]:
        share = _Share(self)
        try:
            yield share
        finally:
            self._held -= share.counted

    def hold(self, size: int) -> None:
        """Count more bytes.

        Raises:
            _Refused: there is no room for them.

        """
        if self._held + size > self._limits.all_bytes:
            reason = "too many large bodies at once; try again later"
            raise _Refused(503, "Service Unavailable", reason, Retry_After="1", Connection="close")
        self._held += size

    async def _body(self, headers: Headers, receive: Receive, share: _Share) -> bytes:
        if _is_from_a_page(headers) and _has_body(headers) and headers.get("content-type") != "application/json":
            raise _Refused(415, "Unsupported Media Type", "the content type must be application/json")
        try:
            async with asyncio.timeout(self._limits.seconds):
                body = await _read(receive, self._limits.one_bytes, share)
        except TimeoutError as error:
            reason = f"the body did not come within {self._limits.seconds:g} s"
            raise _Refused(408, "Request Timeout", reason, Connection="close") from error
        zipped = headers.get("content-encoding", "").lower() == "gzip"
        return _inflate(body, self._limits.one_bytes, share) if zipped else body


class _Share:
    """What one request holds; the first UNCOUNTED bytes are free, so that large bodies keep nobody from small ones."""

    def __init__(self, gate: BodyGate) -> None:
        self._gate = gate
        self._size = 0
        self.counted = 0

    def take(self, size: int) -> None:
        """Hold more bytes; raises _Refused."""
        self._size += size
        more = max(self._size - UNCOUNTED, 0) - self.counted
        self._gate.hold(more)
        self.counted += more


_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def _in_utf8(body: bytes) -> bytes:
    """Return the body with halves of surrogate pairs replaced: JSON can spell them, UTF-8 and Postgres cannot."""
    if _SURROGATE_ESCAPE.search(body) is None:
        return body
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False)
    except (ValueError, RecursionError):
        return body  # whoever parses it says what is wrong
    return _LONE_SURROGATE.sub("\ufffd", text).encode()


def _is_from_a_page(headers: Headers) -> bool:
    return "origin" in headers or "referer" in headers


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise _Refused(413, "Request Entity Too Large", "the body is too large")


async def _read(receive: Receive, limit: int, share: _Share) -> bytes:
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Left
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        _check_size(size, limit)
        share.take(len(chunk))
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _inflate(body: bytes, limit: int, share: _Share) -> bytes:
    inflater, chunks, size = zlib.decompressobj(wbits=31), [], 0
    while not inflater.eof:
        try:
            chunk = inflater.decompress(body, STEP)
        except zlib.error as error:
            raise _Refused(400, DECODER_ERROR, DECODER_ERROR) from error
        body = inflater.unconsumed_tail
        if not chunk and not body and not inflater.eof:
            raise _Refused(400, DECODER_ERROR, DECODER_ERROR)
        size += len(chunk)
        _check_size(size, limit)
        share.take(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def _as_json(scope: Scope) -> Scope:
    copy = {**scope, "headers": list(scope["headers"])}
    headers = MutableHeaders(scope=copy)
    headers["content-type"] = "application/json"
    del headers["content-encoding"]
    return copy


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
