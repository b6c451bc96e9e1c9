"""Settings of live-query."""

from __future__ import annotations

from flotilla_common.settings import DatabaseSettings
from pydantic import Field, SecretStr, field_validator

from live_query.domain.signing import private_key_from

MIB = 1024 * 1024


class Settings(DatabaseSettings):
    """What live-query needs besides the common settings."""

    redis_url: SecretStr = Field(description="redis://:password@host:port/database")
    signing_key: SecretStr = Field(description="Ed25519 private key (PEM, PKCS 8) that signs commands")
    host_rows_bytes: int = Field(5 * MIB, description="rows kept of one host's answer, in bytes of JSON", ge=2)
    host_rows: int = Field(10_000, description="rows kept of one host's answer", ge=0)
    campaign_rows_bytes: int = Field(256 * MIB, description="rows and errors kept of one campaign, in bytes", ge=2)

    @field_validator("signing_key")
    @classmethod
    def _check_key(cls, value: SecretStr) -> SecretStr:
        private_key_from(value.get_secret_value())
        return value
