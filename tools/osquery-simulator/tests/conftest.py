"""A fake server with a certificate of its own, and a fleet against it."""

import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from osquery_simulator import Simulator, SimulatorSettings
from osquery_simulator.testing import FakeServer, VirtualClock

LOOPBACK = ipaddress.ip_address("127.0.0.1")


@pytest.fixture
def clock() -> VirtualClock:
    """The time of the hosts: pauses of up to 5000 s pass at once, longer ones never."""
    return VirtualClock()


@pytest.fixture
async def server(clock: VirtualClock) -> AsyncIterator[FakeServer]:
    async with FakeServer(clock=clock) as fake:
        yield fake


@pytest.fixture
async def fleet(server: FakeServer, clock: VirtualClock) -> AsyncIterator[Callable[..., Any]]:
    """Start hosts against the fake: `await fleet(hosts=2, flags={...})`. Only the threads asked for make rounds."""
    async with AsyncExitStack() as stack:

        async def start(**chosen: Any) -> Simulator:
            flags = {"config_refresh": 0, "distributed_interval": 9999, "logger_tls_period": 9999} | chosen.pop(
                "flags", {}
            )
            settings = {"url": server.url, "enroll_secret": "secret", "profiles": {"ubuntu": 1}}
            settings |= chosen
            settings["hosts"] = sum(settings["profiles"].values())
            return await stack.enter_async_context(Simulator(SimulatorSettings(**settings, flags=flags), clock))

        yield start


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fake")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(LOOPBACK)]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "fake.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + made.public_bytes(pem))
    return path


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
