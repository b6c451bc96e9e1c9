"""Make the secrets of an installation with docker-compose.yml, one file each; keep what is there.

    python make_secrets.py DIRECTORY [--name fleet.example.com ...]

Needs flotilla_common with its database part and cryptography: any service's image but the gateway's, or `make install`.
The directory gets mode 0700; its files are readable by everybody, because containers run as users of their own and see
only the files that they are given. `provision.json` is the source of all passwords; what is made from them is written
anew each time, so that a release which changes who may say what on the bus needs no more than another run.
"""

from __future__ import annotations

import argparse
import base64
import datetime
import ipaddress
import json
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from flotilla_common.bus.permissions import PROVISION_USER, USERS, authorization
from flotilla_common.db.migrate import READS, role_of

DATABASE = "flotilla"
OWNER = "flotilla_owner"
S3_KEY = "flotilla"
LIFETIME = datetime.timedelta(days=800)  # macOS refuses server certificates above 825 days
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Secrets:
    """The directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)

    def keep(self, name: str, make: Callable[[], str]) -> str:
        """Return a file's text, made and written if there is no such file."""
        path = self.directory / name
        if not path.exists():
            self.write(name, make())
        return path.read_text(encoding="utf-8").rstrip("\n")

    def write(self, name: str, text: str) -> None:
        """Write a file in place: containers keep the file that they were given when they started."""
        path = self.directory / name
        path.touch()
        path.chmod(0o644)
        path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


def password() -> str:
    """Return a new password, safe in URLs, files and shells."""
    return secrets.token_hex(20)


def write_passwords(at: Secrets) -> None:
    """Make the passwords, and every file that holds one."""
    known = json.loads(at.keep("provision.json", lambda: "{}"))
    nats_users = [*(user.name for user in USERS), PROVISION_USER]
    postgres = {service: known.get("postgres", {}).get(service) or password() for service in READS}
    nats = {user: known.get("nats", {}).get(user) or password() for user in nats_users}
    at.write("provision.json", json.dumps({"postgres": postgres, "nats": nats}, indent=2))
    at.write("nats_authorization.conf", authorization(nats))
    for user in USERS:
        at.write(f"nats_password_{user.name}", nats[user.name])
    for service, own in postgres.items():
        at.write(f"database_url_{service}", database_url(role_of(service), own))
    owner = at.keep("postgres_password", password)
    at.write("admin_database_url", database_url(OWNER, owner))
    valkey = at.keep("valkey_password", password)
    at.write("valkey_requirepass.conf", f"requirepass {valkey}")
    at.write("redis_url", f"redis://:{valkey}@valkey:6379/0")
    s3 = at.keep("s3_secret_key", password)
    at.write("s3_access_key", S3_KEY)
    at.write("s3.json", s3_identities(s3))


def database_url(role: str, own: str) -> str:
    """Return the address of the database for a role."""
    return f"postgresql+psycopg://{role}:{own}@postgres:5432/{DATABASE}"


def s3_identities(secret: str) -> str:
    """Return the configuration of SeaweedFS's S3 door: one identity."""
    credentials = [{"accessKey": S3_KEY, "secretKey": secret}]
    actions = ["Admin", "Read", "Write", "List"]
    return json.dumps({"identities": [{"name": S3_KEY, "credentials": credentials, "actions": actions}]}, indent=2)


def write_keys(at: Secrets) -> None:
    """Make the keys of secrets at rest, and the pair that signs campaign commands."""
    for name in ("secrets_key", "log_destinations_key"):
        at.keep(name, lambda: base64.b64encode(secrets.token_bytes(32)).decode())
    text = at.keep("signing_key.pem", lambda: private_pem(ed25519.Ed25519PrivateKey.generate()))
    at.keep("command_keys.pem", lambda: public_pem(text))


def public_pem(text: str) -> str:
    """Return the public half of a private key."""
    key = load_pem_private_key(text.encode(), None)
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem(key: PrivateKey) -> str:
    """Return a private key as unencrypted PKCS 8."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def write_certificate(at: Secrets, names: Sequence[str]) -> None:
    """Make a certificate for the edge and the gateways, and the CA that signed it, unless there is one already.

    The CA's key is thrown away. Put your own `server.pem` and `server.key` in their place where hosts and browsers
    know a CA of yours.
    """
    if (at.directory / "server.pem").exists():
        return
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Flotilla CA {secrets.token_hex(4)}")])
    ca = (
        certificate(ca_name, ca_name, ca_key, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(signs_certificates(), critical=True)
        .sign(ca_key, SHA256())
    )
    server = (
        certificate(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]), ca_name, key, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([general_name(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, SHA256())
    )
    at.write("server.key", private_pem(key))
    at.write("ca.pem", ca.public_bytes(Encoding.PEM).decode())
    at.write("server.pem", server.public_bytes(Encoding.PEM).decode())


def certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    """Begin a certificate with what both kinds share."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def signs_certificates() -> x509.KeyUsage:
    """Return what a CA's key may be used for."""
    others = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    none = dict.fromkeys((*others, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(key_cert_sign=True, crl_sign=True, **none)


def general_name(name: str) -> x509.GeneralName:
    """Return an address or a DNS name as certificates write it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--name", action="append", help="a DNS name or address that hosts and people use")
    arguments = parser.parse_args()
    at = Secrets(arguments.directory)
    write_passwords(at)
    write_keys(at)
    write_certificate(at, list(dict.fromkeys([*(arguments.name or []), "localhost", "127.0.0.1"])))


if __name__ == "__main__":
    main()
