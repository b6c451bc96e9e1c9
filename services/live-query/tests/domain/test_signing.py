"""Commands: signed over their exact bytes."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from flotilla_common.contracts.campaigns import CampaignCommand
from live_query.domain.signing import private_key_from, sign

from ..conftest import verified

COMMAND = CampaignCommand(7, "SELECT 1", 1.0, 2.0, "ab" * 16, b"targets", [0, 3])


def test_a_command_is_signed_by_its_own_key():
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    value = sign(COMMAND, key)

    assert verified(value, key.public_key()) == COMMAND
    with pytest.raises(InvalidSignature):
        verified(value, other.public_key())


def test_only_an_open_ed25519_key_is_taken():
    ed25519, curve = Ed25519PrivateKey.generate(), generate_private_key(SECP256R1())
    plain = ed25519.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    wrong = [
        "",
        ed25519.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode(),
        curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    ]

    assert private_key_from(plain).public_key() == ed25519.public_key()
    for pem in wrong:
        with pytest.raises(ValueError, match="key"):
            private_key_from(pem)
