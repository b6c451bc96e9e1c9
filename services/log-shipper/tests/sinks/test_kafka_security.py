"""The Kafka destination shows who it is, and looks who brokers are; the mock cluster has neither TLS nor SASL."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from log_shipper.errors import DestinationDown
from log_shipper.sinks.kafka import KIND, KafkaSink

from .sasl_broker import SaslBroker


@pytest.fixture
async def sink_for():
    """Make sinks; all are closed at the end."""
    made: list[KafkaSink] = []

    def make(**settings) -> KafkaSink:
        made.append(KIND.open({"topic": "logs"} | settings))
        return made[-1]

    yield make
    for sink in made:
        await sink.close()


@pytest.mark.parametrize(("password", "is_right"), [("hush hush", True), ("wrong word", False)])
async def test_brokers_that_ask_for_a_password_get_it(sink_for, password, is_right):
    async with SaslBroker("hush hush").served() as broker:
        secure = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "username": "ada"}
        sink = sink_for(brokers=broker.brokers, password=password, **secure)

        with pytest.raises(DestinationDown) as refused:
            await sink.try_out(b"x")

    assert broker.users[0] == b"ada"
    assert ("SaslAuthenticationFailed" in str(refused.value)) == (not is_right)
    assert password not in str(refused.value)


@pytest.fixture
def certificate(tmp_path) -> Path:
    """A certificate of 127.0.0.1, and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "brokers")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(hours=1), now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "brokers.pem"
    forms = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(built.public_bytes(Encoding.PEM) + key.private_bytes(*forms))
    return path


async def test_brokers_are_checked_by_the_certificate_that_is_given(sink_for, certificate):
    """The server stands for a broker up to the handshake: the mock cluster has no TLS."""
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(certificate)
    greeted = asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(1):
            greeted.set()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=served)
    brokers = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    secure = {"brokers": brokers, "security_protocol": "SSL"}

    with pytest.raises(DestinationDown, match="certificate verify failed"):
        await sink_for(**secure).try_out(b"x")
    assert not greeted.is_set()
    with pytest.raises(DestinationDown):
        await sink_for(**secure, ca_certificate=certificate.read_text()).try_out(b"x")
    server.close()
    await server.wait_closed()

    assert greeted.is_set()
