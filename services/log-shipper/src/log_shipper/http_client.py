"""Requests to the services of HTTP destinations: one client each, with time-outs; no answer is trusted."""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Annotated, Any

import httpx2
import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from log_shipper.errors import DestinationDown

MIB = 1024 * 1024
CONNECT_SECONDS = 10.0
LARGEST_REPLY_BYTES = 8 * MIB
SHOWN_CHARACTERS = 200
MOST_COOKIES = 20
GZIP_LEVEL = 1
GZIP_FORMAT = 16 + zlib.MAX_WBITS
NOT_TAKEN = frozenset({408, 425, 429, 503})
"""Statuses of a service that did nothing with a request and may later."""


class TooLarge(Exception):
    """The service does not take a request of this size."""


class Refused(Exception):
    """The service does not take a request because of what is in it. `around`: the record that it named, about."""

    def __init__(self, reason: str, around: int | None = None) -> None:
        super().__init__(reason)
        self.around = around


def _checked_url(value: str) -> str:
    try:
        url = httpx2.URL(value)
    except httpx2.InvalidURL as error:
        message = f"is no URL: {error}"
        raise ValueError(message) from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("must begin with https:// or http:// and name a host")
    if url.userinfo:
        raise ValueError("must not hold a user or password: there are settings for that, which are kept secret")
    if url.fragment:
        raise ValueError("must not have a fragment")
    return value


def _checked_pem(value: str) -> str:
    if value:
        try:
            ssl.create_default_context(cadata=value)
        except (ssl.SSLError, ValueError):
            raise ValueError("must be certificates in PEM form, the text itself") from None
    return value


def _checked_header(value: SecretStr) -> SecretStr:
    plain = value.get_secret_value()
    if not plain.isascii() or not (plain + "x").isprintable() or plain != plain.strip():
        raise ValueError("must be printable ASCII, without spaces at its ends")
    return value


HeaderSecret = Annotated[SecretStr, AfterValidator(_checked_header)]
"""A secret that goes into a header."""


class HttpSettings(BaseModel):
    """Settings that all HTTP destinations have."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, AfterValidator(_checked_url)] = Field(description="where the service is", max_length=2000)
    ca_certificate: Annotated[str, AfterValidator(_checked_pem)] = Field(
        "", description="certificates (PEM text) that its own must come from; empty: those this machine trusts"
    )
    gzip: bool = Field(False, description="compress requests")
    timeout_seconds: float = Field(30.0, description="how long one request may take", gt=0, le=300)
    concurrency: int = Field(4, description="requests at the same time", ge=1, le=16)
    max_request_bytes: int = Field(
        10 * MIB,
        description="largest request, uncompressed; a longer line is dead-lettered",
        ge=1024,
        le=64 * MIB,
    )
    max_request_lines: int = Field(1000, description="most lines of a request", ge=1, le=10_000)


def printable(text: str | bytes, most: int = SHOWN_CHARACTERS) -> str:
    """Return what a stranger sent, for people: one line, cut, nothing that a terminal or a page could obey."""
    if isinstance(text, bytes):
        text = text[: 4 * most].decode("utf-8", "replace")
    return "".join(character if character.isprintable() else " " for character in text[:most]).strip()


@dataclass(frozen=True)
class Reply:
    """An answer; of a body that has no end the beginning. `retry_after`: seconds, 0 when it does not say."""

    status: int
    body: bytes = b""
    retry_after: float = 0.0
    location: str = ""

    def json(self) -> Any:
        """Return what the body says, None when it is no JSON."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def __str__(self) -> str:
        return f"status {self.status}: {printable(self.body)}".removesuffix(": ")


def check(reply: Reply) -> None:
    """Return when the status is one of success.

    Raises:
        TooLarge: a smaller request may be taken.
        Refused: what was sent is wrong, or all that is sent here.
        DestinationDown: it must be tried again; the text says when somebody has to repair something first.

    """
    status = reply.status
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise DestinationDown(
            f"status {status} points to {reply.location!r}: redirects are not followed, change the url"
        )
    if status == 413:
        raise TooLarge(str(reply))
    if status in {400, 422}:
        raise Refused(str(reply))
    if status in {401, 403, 407}:
        raise DestinationDown(f"its credentials are not accepted, repair them: {reply}")
    if 400 <= status < 500 and status not in NOT_TAKEN:
        raise DestinationDown(f"its settings are wrong, the url most likely: {reply}")
    raise DestinationDown(str(reply), retry_after=reply.retry_after)


def is_unclear(status: int) -> bool:
    """Whether an answer with this status leaves open what became of the request: of a broken server, of a proxy."""
    return status >= 500 and status not in NOT_TAKEN


class HttpClient:
    """Posts to one service. It follows no redirect, keeps no cookie unless told, and unpacks nothing."""

    def __init__(self, settings: HttpSettings, headers: Mapping[str, str], *, keeps_cookies: bool = False) -> None:
        self._base, _, self._query = settings.url.partition("?")
        self._gzip = settings.gzip
        self._seconds = settings.timeout_seconds
        policy = DefaultCookiePolicy() if keeps_cookies else DefaultCookiePolicy(allowed_domains=())
        self._cookies = CookieJar(policy)
        trust = ssl.create_default_context(cadata=settings.ca_certificate) if settings.ca_certificate else True
        self._client = httpx2.AsyncClient(
            verify=trust,
            headers={"accept-encoding": "identity", "user-agent": "flotilla-log-shipper", **headers},
            cookies=self._cookies,
            timeout=httpx2.Timeout(self._seconds, connect=min(CONNECT_SECONDS, self._seconds)),
            limits=httpx2.Limits(max_connections=settings.concurrency + 1),
        )

    @property
    def place(self) -> str:
        """Where the service is, without what may be secret."""
        return self._base

    async def pack(self, body: bytes) -> tuple[bytes, dict[str, str]]:
        """Return a body as it goes over the wire, and the headers that say so. The same body gives the same bytes."""
        if not self._gzip:
            return body, {}
        return await asyncio.to_thread(_gzip, body), {"content-encoding": "gzip"}

    async def post(self, path: str, body: bytes, headers: Mapping[str, str], unanswered: Callable[[], None]) -> Reply:
        """Post, and return the answer whatever its status is.

        `unanswered` is called when a request went out, if only in part, and no answer came, or one that leaves open
        what became of it; also when this task is cancelled.

        Raises:
            DestinationDown: no answer came.

        """
        began = known = False

        async def trace(event: str, _: Mapping[str, Any]) -> None:
            nonlocal began
            began = began or event.endswith("send_request_headers.started")

        try:
            async with asyncio.timeout(self._seconds):
                reply = await self._exchange(path, body, headers, trace)
            known = not is_unclear(reply.status)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError) as error:
            raise DestinationDown(f"{self.place}: {type(error).__name__}: {printable(str(error))}") from error
        finally:
            if began and not known:
                unanswered()
        return reply

    async def _exchange(self, path: str, body: bytes, headers: Mapping[str, str], trace: Any) -> Reply:
        url = httpx2.URL((self._base.rstrip("/") if path else self._base) + path)
        if self._query:
            url = url.copy_merge_params(httpx2.QueryParams(self._query))
        request = self._client.build_request("POST", url, content=body, headers=headers, extensions={"trace": trace})
        answer = await self._client.send(request, stream=True)
        try:
            taken = bytearray()
            async with aclosing(answer.aiter_raw()) as parts:
                async for part in parts:
                    taken += part
                    if len(taken) >= LARGEST_REPLY_BYTES:
                        break
        finally:
            await answer.aclose()
            if len(self._cookies) > MOST_COOKIES:
                self._cookies.clear()
        asked = _seconds_of(answer.headers.get("retry-after", ""))
        return Reply(answer.status_code, bytes(taken), asked, printable(answer.headers.get("location", "")))

    async def close(self) -> None:
        """Close kept connections."""
        await self._client.aclose()


def _gzip(body: bytes) -> bytes:
    """Compress without a time stamp."""
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_FORMAT)
    return packer.compress(body) + packer.flush()


def _seconds_of(value: str) -> float:
    """Read `Retry-After`: seconds or a date; 0 when it is neither, or past."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
