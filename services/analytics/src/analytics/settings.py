"""Settings of the two parts."""

from __future__ import annotations

from flotilla_common.settings import DatabaseSettings
from pydantic import Field, SecretStr, field_validator


class ReporterSettings(DatabaseSettings):
    """Settings of the reporter."""

    collector_url: str = Field("", description="base URL of the collector; empty: nothing is ever sent")

    @field_validator("collector_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            message = "must begin with https:// or http://"
            raise ValueError(message)
        return value.rstrip("/")


class CollectorSettings(DatabaseSettings):
    """Settings of the collector. It has no use for the bus, and may run where there is none."""

    nats_url: str = Field("", description="not used by the collector")
    nats_user: str = Field("analytics", description="the name that Postgres shows for its connections")
    nats_password: SecretStr = Field(SecretStr(""), description="not used by the collector")
    listen_host: str = Field("127.0.0.1", description="address that reports are received on")
    listen_port: int = Field(description="port that reports are received on", ge=0, le=65535)
