"""Settings of admin-api."""

from __future__ import annotations

import ipaddress
import re

from flotilla_common.blobs import BlobSettings
from flotilla_common.settings import DatabaseSettings, SecretsKey
from pydantic import Field, SecretStr, field_validator, model_validator

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_UNIT_SECONDS = {"second": 1, "minute": 60, "hour": 3600}
_DURATION_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Settings(DatabaseSettings, BlobSettings):
    """What admin-api needs besides the common settings."""

    redis_url: SecretStr = Field(description="redis://:password@host:port/database")
    listen_host: str = Field("127.0.0.1", description="address of the API")
    listen_port: int = Field(description="port of the API", ge=0, le=65535)
    secrets_key: SecretsKey = Field(description="32 random bytes in base64: protects enroll secrets at rest")
    trusted_proxies: str = Field("", description="networks whose X-Forwarded-For is believed, comma separated")
    login_rate: str = Field("10/minute", description="logins for everybody together, COUNT/second|minute|hour")
    session_seconds: int = Field(5 * 86400, description="a login ends this long after its last use", ge=60)
    failed_login_seconds: float = Field(1.0, description="a failed login takes at least this long", ge=0)
    body_limit_bytes: int = Field(16 * 1024 * 1024, description="largest request body, inflated", ge=1024)
    bodies_limit_bytes: int = Field(
        64 * 1024 * 1024, description="bodies held at once, in bytes; of each the first 64 KiB are not counted"
    )
    body_seconds: float = Field(60.0, description="a body must have come within this time", gt=0)
    live_query_rest_period: str = Field("25s", description="longest wait of a synchronous live query, such as 25s")
    allowed_origins: str = Field("", description="other origins whose pages may open WebSockets, comma separated")
    most_viewers: int = Field(1000, description="viewers of live queries at once; each reads Redis by itself", ge=1)
    most_hellos: int = Field(100, description="WebSockets at once that have not said yet who they are", ge=1)

    @model_validator(mode="after")
    def _check_bodies(self) -> Settings:
        if self.bodies_limit_bytes < 2 * self.body_limit_bytes:
            raise ValueError("bodies_limit_bytes must be twice body_limit_bytes at least: a body, gzipped and inflated")
        return self

    @field_validator("live_query_rest_period")
    @classmethod
    def _check_period(cls, value: str) -> str:
        parse_duration(value)
        return value

    @field_validator("login_rate")
    @classmethod
    def _check_rate(cls, value: str) -> str:
        parse_rate(value)
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_networks(cls, value: str) -> str:
        parse_networks(value)
        return value


def parse_rate(value: str) -> tuple[int, int]:
    """Return (count, seconds) of a rate such as `10/minute`.

    Raises:
        ValueError: it is none.

    """
    match = re.fullmatch(r"\s*([1-9][0-9]*)\s*/\s*(second|minute|hour)\s*", value)
    if match is None:
        raise ValueError("must look like 10/minute")
    return int(match[1]), _UNIT_SECONDS[match[2]]


def parse_duration(value: str) -> float:
    """Return the seconds of a duration such as `25s`, `1m30s` or `500ms`; a bare number is seconds.

    Raises:
        ValueError: it is none, or is not positive.

    """
    text = value.strip()
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ms|h|m|s)", text)
    if "".join(number + unit for number, unit in parts) != text:
        parts = [(text, "s")]
    seconds = sum(float(number) * _DURATION_SECONDS[unit] for number, unit in parts)
    if not 0 < seconds <= 3600:
        raise ValueError("must be a duration such as 25s, an hour at most")
    return seconds


def parse_networks(value: str) -> tuple[Network, ...]:
    """Return the networks of a comma-separated list.

    Raises:
        ValueError: one of them is no network.

    """
    return tuple(ipaddress.ip_network(item.strip(), strict=False) for item in value.split(",") if item.strip())
