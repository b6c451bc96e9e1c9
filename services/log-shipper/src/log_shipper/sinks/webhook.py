"""A webhook: lines by POST to any URL, signed as Standard Webhooks says.

Signed is what goes over the wire: `<webhook-id>.<webhook-timestamp>.<body>`, with HMAC-SHA256. The id of a request is
the same whenever it is sent again, so that a receiver can tell what it has already.
Source: Standard Webhooks 1.0.0, spec/standard-webhooks.md, "Signature scheme" and "Webhook headers".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from pydantic import AfterValidator, Field, SecretStr

from log_shipper.http_client import HeaderSecret, HttpSettings, check
from log_shipper.http_sending import Delivery, HttpSink, Record
from log_shipper.json_lines import embedded
from log_shipper.sinks import Batch, Kind, Line

PREFIX = "whsec_"
ID_BYTES = 18


def _key(secret: str) -> bytes:
    """Return the key: what follows `whsec_` is base64, any other text stands for itself."""
    if not secret.startswith(PREFIX):
        return secret.encode()
    return base64.b64decode(secret.removeprefix(PREFIX), validate=True)


def _checked_secret(value: SecretStr) -> SecretStr:
    try:
        _key(value.get_secret_value())
    except binascii.Error:
        message = f"what follows {PREFIX} must be base64"
        raise ValueError(message) from None
    return value


class Settings(HttpSettings):
    """Settings of a webhook."""

    secret: Annotated[SecretStr, AfterValidator(_checked_secret)] = Field(
        SecretStr(""), description="key of signatures: whsec_ and base64, or any text; empty: not signed"
    )
    authorization: HeaderSecret = Field(SecretStr(""), description="value of the Authorization header")
    format: Literal["ndjson", "json", "fleet"] = Field(
        "ndjson", description="body: a line each, a JSON array, or Fleet's form {timestamp, details}"
    )


class WebhookSink(HttpSink):
    """Posts lines to a URL."""

    def __init__(self, settings: Settings) -> None:
        given = settings.authorization.get_secret_value()
        is_ndjson = settings.format == "ndjson"
        headers = {"content-type": "application/x-ndjson" if is_ndjson else "application/json"}
        super().__init__(settings, headers | ({"authorization": given} if given else {}))
        self._format = settings.format
        self._secret = _key(settings.secret.get_secret_value())

    def encode(self, line: Line) -> bytes:
        """Return the line as the host sent it; where it must be JSON and is not, as a string."""
        return line.raw + b"\n" if self._format == "ndjson" else embedded(line.raw) + b","

    async def send(self, records: Sequence[Record], delivery: Delivery) -> None:
        """Post; any 2xx says that the receiver has all of them."""
        body, headers = await self.client.pack(self._body(records))
        headers |= self._signed(message_id(delivery.batch, records), body)
        check(await delivery.post("", body, headers, records))
        delivery.accept(records)

    def _body(self, records: Sequence[Record]) -> bytes:
        joined = b"".join(record.body for record in records)
        match self._format:
            case "ndjson":
                return joined
            case "json":
                return b"[" + joined[:-1] + b"]"
        newest = max(record.line.received_ms for record in records) // 1000
        moment = datetime.fromtimestamp(newest, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return b'{"timestamp":%s,"details":[%s]}' % (msgspec.json.encode(moment), joined[:-1])

    def _signed(self, name: str, body: bytes) -> dict[str, str]:
        now = str(int(time.time()))
        headers = {"webhook-id": name, "webhook-timestamp": now}
        if not self._secret:
            return headers
        digest = hmac.digest(self._secret, f"{name}.{now}.".encode() + body, hashlib.sha256)
        return headers | {"webhook-signature": "v1," + base64.b64encode(digest).decode()}


def message_id(batch: Batch, records: Sequence[Record]) -> str:
    """Return the id of a request: of the batch, and of the places in the stream that its lines have."""
    places = [batch.fence, *(record.line.position for record in records)]
    return "msg_" + hashlib.blake2b(msgspec.json.encode(places), digest_size=ID_BYTES).hexdigest()


KIND = Kind(Settings, WebhookSink)
