"""Settings of log-shipper. Each destination has its own, in its file in `sinks/`."""

from __future__ import annotations

from flotilla_common.settings import DatabaseSettings
from pydantic import Field, field_validator

from log_shipper import sinks


class Settings(DatabaseSettings):
    """What log-shipper itself needs."""

    destinations: str = Field("file", description="destinations, comma separated: the files of sinks/, e.g. file,s3")
    replay_window: float = Field(
        0.5, description="share of the stream's limit that is kept, though delivered, for replay", ge=0, le=0.8
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


def _names(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
