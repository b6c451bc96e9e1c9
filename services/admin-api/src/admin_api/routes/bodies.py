"""Request bodies: bounded, gzip accepted, keys matched without regard to case, wrong types refused."""

from __future__ import annotations

import json
import re
import zlib
from typing import Annotated, Any, get_args

from fastapi import Body
from pydantic import BaseModel, ConfigDict, model_validator
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from admin_api.routes.envelope import DECODER_ERROR, failure

BODY_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE", "GET"})


class ApiBody(BaseModel):
    """A JSON object from a person: unknown keys are ignored, null means absent unless the field can be null."""

    model_config = ConfigDict(strict=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _match_keys(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        names = {name.lower(): name for name in cls.model_fields}
        known = {names[key.lower()]: value for key, value in data.items() if key.lower() in names}
        return {name: value for name, value in known.items() if value is not None or _may_be_null(cls, name)}


def _may_be_null(model: type[BaseModel], name: str) -> bool:
    annotation = model.model_fields[name].annotation
    return annotation is Any or type(None) in get_args(annotation)


RawObject = Annotated[dict[str, Any], Body()]
"""A JSON object whose members the domain checks itself."""

RawDocument = Annotated[dict[str, Any] | None, Body()]
"""Like `RawObject`, or null."""


class BodyGate:
    """Before FastAPI: the content type rule for browsers, gzip, the size limit.

    A request with Origin or Referer must say exactly `application/json` (else a foreign page could post a form);
    from everybody else the body is taken as JSON whatever the header says.
    """

    def __init__(self, app: ASGIApp, limit_bytes: int) -> None:
        self._app = app
        self._limit = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer 400, 413 or 415."""
        if scope["type"] != "http" or scope["method"] not in BODY_METHODS or not scope["path"].startswith("/api"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if _is_from_a_page(headers) and _has_body(headers) and headers.get("content-type") != "application/json":
            answer = failure(415, "Unsupported Media Type", [("base", "the content type must be application/json")])
            await answer(scope, receive, send)
            return
        body = await _read(receive, self._limit)
        if body is not None and headers.get("content-encoding", "").lower() == "gzip":
            body = _inflate(body, self._limit)
        if body is None:
            await failure(413, "Request Entity Too Large", [("base", "the body is too large")])(scope, receive, send)
        elif body == _BROKEN:
            await failure(400, DECODER_ERROR, [("base", DECODER_ERROR)])(scope, receive, send)
        else:
            await self._app(_as_json(scope), _replay(_in_utf8(body), receive), send)


_BROKEN = b"\x00broken gzip"
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


async def _read(receive: Receive, limit: int) -> bytes | None:
    chunks, size = [], 0
    while True:
        message = await receive()
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            return None
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _inflate(body: bytes, limit: int) -> bytes | None:
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(body, limit + 1)
    except zlib.error:
        return _BROKEN
    if len(plain) > limit:
        return None
    return plain if inflater.eof else _BROKEN


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
