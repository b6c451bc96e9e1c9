"""Settings of config-merger."""

from __future__ import annotations

from flotilla_common.settings import DatabaseSettings
from pydantic import Field


class Settings(DatabaseSettings):
    """What config-merger needs besides database and bus."""

    housekeeping_seconds: float = Field(300.0, description="seconds between looks for garbage and losses", gt=0)
    blob_grace_seconds: float = Field(900.0, description="seconds that an unreferenced config stays in PLANS", ge=0)
    class_grace_seconds: float = Field(3600.0, description="seconds that a class without hosts is kept", ge=0)
