"""Settings of live-query."""

from __future__ import annotations

from datetime import timedelta

from flotilla_common.blobs import BlobSettings
from flotilla_common.settings import DatabaseSettings
from pydantic import Field, SecretStr, field_validator

from live_query.domain.archive import ArchivePolicy
from live_query.domain.carves import CarvePolicy
from live_query.domain.signing import private_key_from

MIB = 1024 * 1024
GIB = 1024 * MIB


class Settings(DatabaseSettings, BlobSettings):
    """What live-query needs besides the common settings."""

    redis_url: SecretStr = Field(description="redis://:password@host:port/database")
    signing_key: SecretStr = Field(description="Ed25519 private key (PEM, PKCS 8) that signs commands")
    host_rows_bytes: int = Field(5 * MIB, description="rows kept of one host's answer, in bytes of JSON", ge=2)
    host_rows: int = Field(10_000, description="rows kept of one host's answer", ge=0)
    carve_host_bytes: int = Field(8 * GIB, description="carves of one host at once, in bytes", ge=1)
    carve_host_count: int = Field(100, description="the same in carves", ge=1)
    carve_total_bytes: int = Field(50 * GIB, description="carves of all hosts at once, in bytes", ge=1)
    carve_seconds: float = Field(86_400.0, description="how long a carve's contents are kept", gt=0)
    carve_unasked: bool = Field(False, description="take carves of scheduled queries too, which no campaign asked for")
    campaign_rows_bytes: int = Field(4 * GIB, description="rows and errors kept of one campaign, in bytes", ge=2)
    campaign_hot_bytes: int = Field(8 * MIB, description="of those, in Redis; older ones are in the blob store", ge=MIB)
    results_hot_bytes: int = Field(256 * MIB, description="in Redis of all campaigns, in bytes of its memory", ge=MIB)
    archive_after_seconds: float = Field(60.0, description="an ended campaign leaves Redis after this time", ge=0)
    results_seconds: float = Field(30 * 86_400.0, description="how long results of ended campaigns are kept", gt=0)

    @property
    def carve_policy(self) -> CarvePolicy:
        """What is kept of carves."""
        return CarvePolicy(
            host_bytes=self.carve_host_bytes,
            host_carves=self.carve_host_count,
            total_bytes=self.carve_total_bytes,
            keep=timedelta(seconds=self.carve_seconds),
            unasked=self.carve_unasked,
        )

    @property
    def archive_policy(self) -> ArchivePolicy:
        """What stays in Redis, and how long results are kept."""
        return ArchivePolicy(
            hot_bytes=self.campaign_hot_bytes,
            total_hot_bytes=self.results_hot_bytes,
            after=timedelta(seconds=self.archive_after_seconds),
            keep=timedelta(seconds=self.results_seconds),
        )

    @field_validator("signing_key")
    @classmethod
    def _check_key(cls, value: SecretStr) -> SecretStr:
        private_key_from(value.get_secret_value())
        return value
