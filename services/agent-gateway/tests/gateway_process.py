"""A gateway as a process of its own, among the stand-ins."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flotilla_common.testing.processes import RunningService, free_port, running_service
from flotilla_stack.certificates import make_keys


@dataclass
class GatewayProcess:
    """A gateway that can be started again on the same port."""

    environment: dict[str, str]
    plain_port: int
    tls_port: int
    service: RunningService | None = None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self, *, wait: bool = True) -> RunningService:
        self.service = await self.stack.enter_async_context(
            running_service("agent_gateway", environment=self.environment)
        )
        if wait:
            await self.service.ready()
        return self.service

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.plain_port}/api/v1/osquery"


Make = Callable[..., Awaitable[GatewayProcess]]


@pytest.fixture
async def make_gateway(
    neighbours: Any, service_environment: Callable[[str], dict[str, str]], tmp_path: Path
) -> AsyncIterator[Make]:
    """Describe a gateway process, with settings of its own; the test starts it."""
    keys = make_keys(tmp_path / "keys", datetime.datetime.now(datetime.UTC))
    public = neighbours.command_keys[0].public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "command-keys.pem").write_bytes(public)
    stack = AsyncExitStack()

    async def make(**settings: object) -> GatewayProcess:
        plain, tls = free_port(), free_port()
        environment = service_environment("agent_gateway") | {
            "FLOTILLA_PLAIN_PORT": str(plain),
            "FLOTILLA_TLS_PORT": str(tls),
            "FLOTILLA_TLS_CERT_FILE": str(keys.certificate),
            "FLOTILLA_TLS_KEY_FILE": str(keys.key),
            "FLOTILLA_COMMAND_KEYS_FILE": str(tmp_path / "command-keys.pem"),
            **{f"FLOTILLA_{name.upper()}": str(value) for name, value in settings.items()},
        }
        return GatewayProcess(environment, plain, tls, stack=stack)

    yield make
    await stack.aclose()
