"""Believe a campaign's command only with live-query's signature: the bus alone must not be able to run SQL on hosts."""

from __future__ import annotations

import re

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from flotilla_common.contracts.bitmaps import bitmap_of
from flotilla_common.contracts.campaigns import CampaignCommand, Released, Switch, split_command
from flotilla_common.errors import Poison
from pyroaring import BitMap

_decoder = msgspec.json.Decoder(CampaignCommand)
_released_decoder = msgspec.json.Decoder(Released)
_switch_decoder = msgspec.json.Decoder(Switch)
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)
NO_KEYS = "the file of command keys must hold Ed25519 public keys in PEM, and nothing else"


def public_keys(pem: bytes) -> list[Ed25519PublicKey]:
    """Return all Ed25519 public keys of a PEM file: several, while one replaces another.

    Raises:
        ValueError: there is none, or one is damaged or of another kind: half of a rotation would be found out too late.

    """
    try:
        keys = [load_pem_public_key(block) for block in _PEM.findall(pem)]
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(NO_KEYS) from error
    wanted = [key for key in keys if isinstance(key, Ed25519PublicKey)]
    if not wanted or len(wanted) != len(keys) or b"-----" in _PEM.sub(b"", pem):
        raise ValueError(NO_KEYS)
    return wanted


def verified(value: bytes, campaign_id: int, keys: list[Ed25519PublicKey]) -> CampaignCommand:
    """Return the command that a value of the bucket holds.

    Raises:
        Poison: no key made the signature, the command is another campaign's, or it makes no sense.

    """
    try:
        command = _decoder.decode(_payload_of(value, keys))
    except msgspec.DecodeError as error:
        raise Poison(f"command of campaign {campaign_id}: {error}") from error
    if command.campaign_id != campaign_id:
        raise Poison(f"command of campaign {command.campaign_id} under the key of {campaign_id}")
    if not command.sql.strip():
        raise Poison("empty SQL makes osqueryd check in without a pause")
    return command


def verified_switch(value: bytes, keys: list[Ed25519PublicKey]) -> Switch:
    """Return what a value of the bucket says of all campaigns.

    Raises:
        Poison: no key made the signature, or it makes no sense.

    """
    try:
        return _switch_decoder.decode(_payload_of(value, keys))
    except msgspec.DecodeError as error:
        raise Poison(f"switch: {error}") from error


def verified_released(value: bytes, campaign_id: int, keys: list[Ed25519PublicKey]) -> Released:
    """Return which hosts a value of the bucket says may be asked by now.

    Raises:
        Poison: no key made the signature, it is another campaign's, or it makes no sense.

    """
    try:
        released = _released_decoder.decode(_payload_of(value, keys))
    except msgspec.DecodeError as error:
        raise Poison(f"released hosts of campaign {campaign_id}: {error}") from error
    if released.campaign_id != campaign_id:
        raise Poison(f"released hosts of campaign {released.campaign_id} under the key of {campaign_id}")
    return released


def _payload_of(value: bytes, keys: list[Ed25519PublicKey]) -> bytes:
    signature, payload = split_command(value)
    if not any(_signed(key, signature, payload) for key in keys):
        raise Poison("no known key made this signature")
    return payload


def targets_of(command: CampaignCommand, data: bytes) -> BitMap:
    """Return the targets that `data` says: from the command, or what the object store has under their hash.

    Raises:
        Poison: they make no sense.

    """
    try:
        return bitmap_of(data)
    except ValueError as error:
        raise Poison(f"command of campaign {command.campaign_id}: {error}") from error


def _signed(key: Ed25519PublicKey, signature: bytes, payload: bytes) -> bool:
    try:
        key.verify(signature, payload)
    except InvalidSignature:
        return False
    return True
