"""Commands are signed here and nowhere else; gateways hold the public keys."""

from __future__ import annotations

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from flotilla_common.contracts.campaigns import CampaignCommand, Released, Switch, encode_command, split_command
from flotilla_common.errors import Poison


def private_key_from(pem: str) -> Ed25519PrivateKey:
    """Return the key that a PEM text holds.

    Raises:
        ValueError: the text holds no unencrypted Ed25519 private key.

    """
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("not an unencrypted private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("not an Ed25519 key")  # noqa: TRY004 - pydantic shows ValueErrors
    return key


def sign(command: CampaignCommand, key: Ed25519PrivateKey) -> bytes:
    """Return the exact bytes that gateways get: they verify these, never a re-encoding."""
    return _signed(msgspec.json.encode(command), key)


def sign_switch(switch: Switch, key: Ed25519PrivateKey) -> bytes:
    """Return the exact bytes that gateways get."""
    return _signed(msgspec.json.encode(switch), key)


def sign_released(released: Released, key: Ed25519PrivateKey) -> bytes:
    """Return the exact bytes that gateways get."""
    return _signed(msgspec.json.encode(released), key)


def switch_in(value: bytes, key: Ed25519PublicKey) -> Switch | None:
    """Return the switch that a bucket value holds; None when it is none that the owner of this key has signed."""
    try:
        signature, payload = split_command(value)
        key.verify(signature, payload)
        return msgspec.json.decode(payload, type=Switch)
    except (Poison, InvalidSignature, msgspec.DecodeError):
        return None


def _signed(payload: bytes, key: Ed25519PrivateKey) -> bytes:
    return encode_command(key.sign(payload), payload)
