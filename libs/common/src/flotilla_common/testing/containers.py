"""The same servers from Docker images, for FLOTILLA_TEST_SERVERS=containers."""

from __future__ import annotations

import secrets
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

if TYPE_CHECKING:
    from flotilla_common.testing.servers import SharedServers

POSTGRES_IMAGE = "postgres:18-alpine"
VALKEY_IMAGE = "valkey/valkey:8-alpine"
NATS_IMAGE = "nats:2-alpine"
S3_IMAGE = "motoserver/moto:latest"


def start_shared(stack: ExitStack, template: str, passwords: dict[str, str]) -> SharedServers:
    """Start Postgres, Valkey and moto from images."""
    from flotilla_common.testing.servers import SharedServers  # noqa: PLC0415 - imports this module

    password, redis_password = secrets.token_hex(16), secrets.token_hex(16)
    postgres = stack.enter_context(
        DockerContainer(POSTGRES_IMAGE)
        .with_env("POSTGRES_USER", "flotilla_owner")
        .with_env("POSTGRES_PASSWORD", password)
        .with_exposed_ports(5432)
        .waiting_for(LogMessageWaitStrategy("ready to accept connections", times=2))
    )
    valkey = stack.enter_context(
        DockerContainer(VALKEY_IMAGE)
        .with_command(f"valkey-server --requirepass {redis_password} --databases 64")
        .with_exposed_ports(6379)
        .waiting_for(LogMessageWaitStrategy("Ready to accept connections"))
    )
    s3 = stack.enter_context(
        DockerContainer(S3_IMAGE).with_exposed_ports(5000).waiting_for(LogMessageWaitStrategy("Running on"))
    )
    host, port = postgres.get_container_host_ip(), int(postgres.get_exposed_port(5432))
    url = f"postgresql://flotilla_owner:{password}@{host}:{port}/postgres"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(template)))
    return SharedServers(
        host,
        port,
        password,
        passwords,
        valkey.get_container_host_ip(),
        int(valkey.get_exposed_port(6379)),
        redis_password,
        f"http://{s3.get_container_host_ip()}:{s3.get_exposed_port(5000)}",
        "test",
        "test",
    )


def start_nats_container(stack: ExitStack, authorization: str) -> str:
    """Start one NATS server from an image; return its URL."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    (folder / "nats.conf").write_text(
        'max_payload: 8388608\njetstream { store_dir: "/data" }\n' + authorization, encoding="utf-8"
    )
    nats = stack.enter_context(
        DockerContainer(NATS_IMAGE)
        .with_command("-c /etc/flotilla/nats.conf")
        .with_volume_mapping(str(folder), "/etc/flotilla", "ro")
        .with_exposed_ports(4222)
        .waiting_for(LogMessageWaitStrategy("Server is ready"))
    )
    return f"nats://{nats.get_container_host_ip()}:{nats.get_exposed_port(4222)}"
