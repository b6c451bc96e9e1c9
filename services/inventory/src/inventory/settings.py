"""Settings of inventory."""

from __future__ import annotations

import base64
import binascii
from typing import Literal

from flotilla_common.settings import DatabaseSettings
from pydantic import Field, SecretStr, field_validator

from inventory.domain.identifiers import HostIdentifier

KEY_BYTES = 32


class Settings(DatabaseSettings):
    """What inventory needs besides database and bus."""

    secrets_key: SecretStr = Field(description="key of enroll secrets at rest: 32 random bytes in base64")
    seen_flush_seconds: float = Field(2.0, description="seconds between writes of last-seen times", gt=0)
    sweep_seconds: float = Field(
        60.0, description="seconds between looks for hosts of lost teams or with old intervals", gt=0
    )
    log_gap_hours: float = Field(
        24.0, description="a host that is online and sent no log line for so long counts as one with a gap", gt=0
    )
    same_identity: Literal["separate", "hold"] = Field(
        "separate", description="of two living machines with one identity the newcomer is a host of its own, or is held"
    )
    host_identifier: HostIdentifier = Field(
        "provided", description="what tells hosts apart: what their osqueryd says, or a value of its `host_details`"
    )
    enroll_cooldown_seconds: float = Field(
        0.0, description="seconds before a host may enroll again, the same request apart; 0: at once", ge=0
    )

    @field_validator("secrets_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr) -> SecretStr:
        try:
            key = base64.b64decode(value.get_secret_value(), validate=True)
        except binascii.Error:
            raise ValueError("is not base64") from None
        if len(key) != KEY_BYTES:
            raise ValueError(f"must be {KEY_BYTES} bytes in base64, has {len(key)}")
        return value

    @property
    def secrets_key_bytes(self) -> bytes:
        """The key itself."""
        return base64.b64decode(self.secrets_key.get_secret_value())
