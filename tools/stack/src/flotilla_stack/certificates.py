"""The keys and certificates of this machine's installation, made once."""

import base64
import datetime
import ipaddress
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from flotilla_stack.files import write_private

LIFETIME = datetime.timedelta(days=800)  # macOS refuses server certificates above 825 days
RENEW_BEFORE = datetime.timedelta(days=30)
NAMES = (x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")))


@dataclass(frozen=True)
class Keys:
    """Where the files lie; the private ones have mode 0600."""

    directory: Path

    @property
    def ca(self) -> Path:
        """The certificate that clients trust."""
        return self.directory / "ca.pem"

    @property
    def certificate(self) -> Path:
        """The servers' certificate for localhost and 127.0.0.1."""
        return self.directory / "server.pem"

    @property
    def key(self) -> Path:
        """The servers' private key."""
        return self.directory / "server.key"

    @property
    def signing(self) -> Path:
        """The Ed25519 key that signs campaign commands, for live-query alone."""
        return self.directory / "signing.key"

    @property
    def command_keys(self) -> Path:
        """The public half, for the gateways."""
        return self.directory / "command-keys.pem"

    @property
    def secrets_key(self) -> Path:
        """The key that encrypts enroll secrets in the database: 32 bytes in base64."""
        return self.directory / "secrets.key"

    @property
    def destinations_key(self) -> Path:
        """The key that encrypts the secrets of log destinations, log-shipper's alone: 32 bytes in base64."""
        return self.directory / "destinations.key"


def make_keys(directory: Path, now: datetime.datetime) -> Keys:
    """Create what is missing; renew the certificates a month before they end; never change the other keys."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = Keys(directory)
    if not (keys.key.exists() and is_valid(keys.certificate, now) and is_valid(keys.ca, now)):
        write_certificates(keys, now)
    if not keys.signing.exists():
        write_signing_keys(keys)
    for path in (keys.secrets_key, keys.destinations_key):
        if not path.exists():
            write_private(path, base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
    return keys


def is_valid(path: Path, now: datetime.datetime) -> bool:
    """Tell whether a certificate is there and has a month to live."""
    if not path.exists():
        return False
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc > now + RENEW_BEFORE


def write_certificates(keys: Keys, now: datetime.datetime) -> None:
    """Make a CA and one server certificate (ECDSA P-256). The CA's key is thrown away: it signs nothing else."""
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Flotilla local CA {secrets.token_hex(4)}")])
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    ) | {"decipher_only": False}
    ca = (
        certificate(ca_name, ca_name, ca_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    server = (
        certificate(server_name, ca_name, server_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(NAMES), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    write_private(keys.key, private_pem(server_key))
    write_private(keys.certificate, server.public_bytes(Encoding.PEM).decode())
    write_private(keys.ca, ca.public_bytes(Encoding.PEM).decode())


def certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    """Begin a certificate with what both kinds share."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def write_signing_keys(keys: Keys) -> None:
    """Make the pair that signs campaign commands."""
    signing = ed25519.Ed25519PrivateKey.generate()
    public = signing.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    write_private(keys.command_keys, public.decode())
    write_private(keys.signing, private_pem(signing))


def private_pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    """Return a private key as unencrypted PKCS 8."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
