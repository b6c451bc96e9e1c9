"""Stream DEVICE_TOKENS: which device tokens are good. Published by inventory alone.

A token is good for an hour after its value changed, and the stream keeps a little more than an hour: who reads all of
it knows every good token of the installation, so that any other is refused without asking anybody. The token itself is
never stored nor sent.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import ClassVar

from flotilla_common.contracts.base import Answer, Event, Message, Request
from flotilla_common.errors import Conflict, Denied

STREAM = "DEVICE_TOKENS"
LIFETIME_SECONDS = 3600
TOKEN_HASH_BYTES = 16


def hash_device_token(token: str) -> bytes:
    """Return the first 16 bytes of the token's SHA-256. Any text that stands in a path or a body is hashed."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()[:TOKEN_HASH_BYTES]


class DeviceToken(Message):
    """A host's device token: its hash, since when it is good, and the orbit key (hash) that set it and vouches for it.

    Of two of one host the one with the higher `revision` is good, the other dead. Hashes are 32 hexadecimal digits.
    """

    host_id: int
    token_hash: str
    orbit_key_hash: str
    set_at: datetime
    revision: int


class DeviceTokenSetV1(Event):
    """A host has another device token; the one before is dead."""

    subject: ClassVar[str] = "device_tokens.set.v1"

    token: DeviceToken


class DeviceTokenInUse(Conflict):
    """Another host has this device token."""

    code = "device_token_in_use"


class OrbitKeyRetired(Denied):
    """The orbit key was good when it was shown, and is not any more."""

    code = "orbit_key_retired"


class DeviceTokenKeptV1(Answer):
    """The host's token as it is stored now: the same value sent again keeps its time."""

    token: DeviceToken


class SetDeviceTokenV1(Request[DeviceTokenKeptV1]):
    """Give a host another device token, or the same again, which changes nothing.

    Raises (at the caller): OrbitKeyRetired, DeviceTokenInUse, Unavailable.
    """

    subject: ClassVar[str] = "inventory.set_device_token.v1"
    answer: ClassVar[type[Answer]] = DeviceTokenKeptV1

    host_id: int
    orbit_key_hash: str
    token_hash: str
