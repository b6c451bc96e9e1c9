"""Commands: a signature alone does not make sense of one."""

import msgspec
import pytest
from agent_gateway.domain.commands import targets_of, verified
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flotilla_common.contracts.campaigns import CampaignCommand, encode_command
from flotilla_common.errors import Poison


@pytest.mark.parametrize("targets", [b"", b"garbage"])
def test_a_signed_command_whose_targets_are_no_bitmap_is_poison(targets):
    key = Ed25519PrivateKey.generate()
    payload = msgspec.json.encode(CampaignCommand(5, "SELECT 1;", 0.0, 600.0, f"{5:032x}", targets, None))

    with pytest.raises(Poison, match="campaign 5"):
        targets_of(verified(encode_command(key.sign(payload), payload), 5, [key.public_key()]), targets)


@pytest.mark.parametrize("stored", [b"", b"garbage"])
def test_stored_targets_that_are_no_bitmap_are_poison(stored):
    command = CampaignCommand(5, "SELECT 1;", 0.0, 600.0, f"{5:032x}", b"", None, "ab" * 32)

    with pytest.raises(Poison, match="campaign 5"):
        targets_of(command, stored)


@pytest.mark.parametrize("sql", ["", " ", "\n\t"])
def test_a_signed_command_without_sql_is_poison(sql):
    key = Ed25519PrivateKey.generate()
    payload = msgspec.json.encode(CampaignCommand(5, sql, 0.0, 600.0, f"{5:032x}", b"", None))

    with pytest.raises(Poison, match="empty SQL"):
        verified(encode_command(key.sign(payload), payload), 5, [key.public_key()])
