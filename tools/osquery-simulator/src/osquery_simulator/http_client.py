"""osqueryd's HTTP client: POST only, HTTP/1.1, and by default a new TCP and TLS connection for every request.

Observed of osquery 4.1.0 to 5.23.1: it asks for keep-alive, leaves the socket open, and at the thread's next request
opens a new one and closes the old. It resumes no TLS session, offers no ALPN and sends no close_notify.
"""

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

from osquery_simulator.clock import Clock

TIMEOUT_SECONDS = 16.0  # for the whole exchange: connect, TLS, write, read
BODY_LIMIT = 8 * 1024 * 1024  # bytes; osqueryd's parser refuses longer answers
HEAD_LIMIT = 64 * 1024  # bytes
REDIRECTS = {301, 302, 303, 304, 305, 307, 308}
HOPS_LIMIT = 10
TLS_BUFFER = 16 * 1024  # bytes per connection; asyncio's own 256 KiB are too much for thousands of idle sockets


class TransportError(Exception):
    """The exchange broke: no connection, closed early, or an answer that is no HTTP."""


class ExchangeTimeoutError(Exception):
    """No complete answer within 16 seconds."""


@dataclass
class Response:
    """An HTTP answer, read in full."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Connection:
    """An open socket to an origin."""

    origin: tuple[str, str, int]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def drop(self) -> None:
        """Close at once, without TLS' close_notify, as osqueryd does."""
        self.writer.transport.abort()


@dataclass
class Slot:
    """The one socket that a thread of osqueryd keeps."""

    connection: Connection | None = None

    def drop(self) -> None:
        """Close the socket, if there is one."""
        if self.connection is not None:
            self.connection.drop()
        self.connection = None


@dataclass
class HttpClient:
    """Makes requests for all hosts of the process."""

    tls: ssl.SSLContext | None
    clock: Clock = field(default_factory=Clock)
    keep_alive: bool = False
    timeout_seconds: float = TIMEOUT_SECONDS
    connections: int = field(default=0, init=False)
    """How many were opened so far."""

    def __post_init__(self) -> None:
        SSLProtocol.max_size = TLS_BUFFER

    async def post(self, slot: Slot, url: str, headers: list[tuple[str, str]], body: bytes) -> Response:
        """Send a request and read the answer, following redirects with the same body.

        Raises:
            TransportError: the exchange broke.
            ExchangeTimeoutError: it took longer than 16 seconds.

        """
        try:
            with self.clock.busy():
                async with self.clock.timeout(self.timeout_seconds):
                    return await self._follow(slot, url, headers, body)
        except TimeoutError:
            slot.drop()
            raise ExchangeTimeoutError(url) from None
        except (OSError, EOFError, ValueError, ssl.SSLError, asyncio.LimitOverrunError) as error:
            slot.drop()
            raise TransportError(f"{type(error).__name__}: {error}") from error
        except BaseException:
            slot.drop()
            raise

    async def _follow(self, slot: Slot, url: str, headers: list[tuple[str, str]], body: bytes) -> Response:
        is_first = True
        for _ in range(HOPS_LIMIT + 1):
            response = await self._exchange(slot, url, headers, body, is_first=is_first)
            if response.status not in REDIRECTS:
                return response
            if "location" not in response.headers:
                raise ValueError(f"status {response.status} without Location")
            url, is_first = urljoin(url, response.headers["location"]), False
        raise ValueError("too many redirects")

    async def _exchange(
        self, slot: Slot, url: str, headers: list[tuple[str, str]], body: bytes, *, is_first: bool
    ) -> Response:
        connection = await self._connection(slot, url, may_reuse=self.keep_alive or not is_first)
        connection.writer.write(request_head(url, headers, len(body)) + body)
        await connection.writer.drain()
        response = await read_response(connection.reader)
        if response.headers.get("connection", "").lower() == "close":
            slot.drop()
        return response

    async def _connection(self, slot: Slot, url: str, *, may_reuse: bool) -> Connection:
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        origin = (parts.scheme, parts.hostname or "", parts.port or (443 if is_tls else 80))
        old = slot.connection
        if old is not None and may_reuse and old.origin == origin and not old.writer.is_closing():
            return old
        name, port = origin[1:]
        tls = self.tls if is_tls else None
        reader, writer = await asyncio.open_connection(name, port, ssl=tls, limit=HEAD_LIMIT)
        self.connections += 1
        slot.drop()
        slot.connection = Connection(origin, reader, writer)
        return slot.connection


def request_head(url: str, headers: list[tuple[str, str]], length: int) -> bytes:
    """Write the head in osqueryd's order: the caller's, then Host, Accept-Encoding and Content-Length."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    own = [pair for pair in headers if pair[0] != "Accept-Encoding"]
    late = [pair for pair in headers if pair[0] == "Accept-Encoding"]
    lines = [*own, ("Host", parts.netloc), *late, ("Content-Length", str(length))]
    text = "".join(f"{name}: {value}\r\n" for name, value in lines)
    return f"POST {target or '/'} HTTP/1.1\r\n{text}\r\n".encode("latin-1")


async def read_response(reader: asyncio.StreamReader) -> Response:
    """Read a whole answer: by length, in chunks, or until the server closes."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    version, _, rest = head[0].partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError("not an HTTP/1 answer")
    status = int(rest[:3])
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if 100 <= status < 200:
        return await read_response(reader)
    if status in {204, 304}:
        return Response(status, headers, b"")
    return Response(status, headers, await _read_body(reader, headers))


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return await _read_chunks(reader)
    if "content-length" not in headers:
        return await _read_to_end(reader)
    length = int(headers["content-length"])
    if length > BODY_LIMIT:
        raise ValueError("answer above 8 MiB")
    return await reader.readexactly(length)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    chunks: list[bytes] = []
    left = BODY_LIMIT
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        left -= size
        if left < 0:
            raise ValueError("answer above 8 MiB")
        chunks.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        continue  # trailers
    return b"".join(chunks)


async def _read_to_end(reader: asyncio.StreamReader) -> bytes:
    chunks: list[bytes] = []
    left = BODY_LIMIT
    while chunk := await reader.read(HEAD_LIMIT):
        left -= len(chunk)
        if left < 0:
            raise ValueError("answer above 8 MiB")
        chunks.append(chunk)
    return b"".join(chunks)


def tls_context(ca_file: str | None, *, is_verified: bool = True) -> ssl.SSLContext:
    """Make a client context as osqueryd's: TLS 1.2 or newer, the peer verified against the given bundle."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not is_verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
