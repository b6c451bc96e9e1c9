"""Settings of log-shipper. Those of destinations that the environment names are in `declared`."""

from __future__ import annotations

from pathlib import Path

from flotilla_common.blobs import BlobSettings
from flotilla_common.settings import DatabaseSettings, SecretsKey, key_bytes
from pydantic import Field, field_validator

from log_shipper import sinks
from log_shipper.domain.spilling import Keeping


class Settings(DatabaseSettings, BlobSettings):
    """What log-shipper itself needs."""

    destinations: str = Field("", description="destinations, comma separated: the files of sinks/, e.g. file,s3")
    destinations_config: Path | None = Field(None, description="file (YAML or JSON) that names destinations")
    secrets_key: SecretsKey | None = Field(
        None, description="32 random bytes in base64: protects the secrets of destinations that the API makes"
    )
    roles_by_api: bool = Field(
        False,
        description="whether destinations made by the API may sign in as the cloud role that log-shipper runs under",
    )
    replay_window: float = Field(
        0.5, description="share of the stream's limit that is kept, though delivered, for replay", ge=0, le=0.8
    )

    replay_days: float = Field(
        0.0, description="days for which lines stay in the blob store for replay, though delivered; 0: none", ge=0
    )

    @field_validator("destinations")
    @classmethod
    def _known(cls, value: str) -> str:
        unknown = set(_names(value)) - set(sinks.kinds())
        if unknown:
            message = f"unknown destinations {sorted(unknown)}; there are {', '.join(sinks.kinds())}"
            raise ValueError(message)
        return value

    @property
    def kinds(self) -> tuple[str, ...]:
        """The wanted destinations, in order, each once."""
        return _names(self.destinations)

    @property
    def keeping(self) -> Keeping:
        """How much is kept for replay."""
        return Keeping(self.replay_window, self.replay_days)

    @property
    def secrets_key_bytes(self) -> bytes | None:
        """The key itself."""
        return None if self.secrets_key is None else key_bytes(self.secrets_key)


def _names(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
