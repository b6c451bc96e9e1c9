"""Settings of inventory."""

from __future__ import annotations

from typing import Literal

from flotilla_common.settings import DatabaseSettings, SecretsKey
from pydantic import Field

from inventory.domain.identifiers import HostIdentifier


class Settings(DatabaseSettings):
    """What inventory needs besides database and bus."""

    secrets_key: SecretsKey = Field(description="key of enroll secrets at rest: 32 random bytes in base64")
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
