"""Commands: a signature alone does not make sense of one."""

import msgspec
import pytest
from agent_gateway.domain.commands import public_keys, targets_of, verified
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
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


def pem_of(key) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


OLD, NEW = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
OTHER_KIND = pem_of(generate_private_key(SECP256R1()))
SECRET = OLD.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("file", "believed"),
    [
        (pem_of(OLD), [True, False]),
        (pem_of(OLD) + pem_of(NEW), [True, True]),
        (b"# the next one\n" + pem_of(NEW) + b"\n# the last one\r\n" + pem_of(OLD).rstrip(), [True, True]),
        (pem_of(NEW), [False, True]),
    ],
)
def test_the_keys_of_the_file_are_believed_while_they_overlap_and_a_withdrawn_one_no_more(tmp_path, file, believed):
    path = tmp_path / "command.pub.pem"
    path.write_bytes(file)
    keys = public_keys(path.read_bytes())
    payload = msgspec.json.encode(CampaignCommand(5, "SELECT 1;", 0.0, 600.0, f"{5:032x}", b"", None))
    found = []
    for key in (OLD, NEW):
        try:
            found.append(verified(encode_command(key.sign(payload), payload), 5, keys).sql == "SELECT 1;")
        except Poison:
            found.append(False)

    assert found == believed


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"no keys",
        OTHER_KIND,
        SECRET,
        pem_of(OLD) + OTHER_KIND,
        pem_of(OLD) + SECRET,
        pem_of(OLD) + pem_of(NEW)[:-10],
        pem_of(OLD)[:40] + b"\n" + pem_of(NEW),
        pem_of(OLD)[3:] + pem_of(NEW),
        pem_of(OLD) + pem_of(NEW).replace(b"MCow", b"MCox"),
        pem_of(OLD) + pem_of(NEW).replace(b"\n-----END", b"AA\n-----END"),
    ],
)
def test_a_file_with_a_damaged_key_or_one_of_another_kind_is_refused_as_a_whole(file):
    with pytest.raises(ValueError, match="must hold Ed25519 public keys in PEM, and nothing else"):
        public_keys(file)
