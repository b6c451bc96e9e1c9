"""The gateway's settings."""

from __future__ import annotations

import sys
from pathlib import Path

from flotilla_common.settings import CommonSettings
from pydantic import Field, model_validator

from agent_gateway.certificate import Certificate
from agent_gateway.domain.admission import Limits
from agent_gateway.gathering import LONGEST_SECONDS
from agent_gateway.slow_clients import Patience

LAST_PORT = 65_535


class Settings(CommonSettings):
    """Where to listen and whom to believe."""

    listen_host: str = Field("127.0.0.1", description="address of both listeners")
    tls_port: int | None = Field(None, description="port that terminates TLS itself; none: no such listener")
    plain_port: int | None = Field(None, description="port for a balancer or edge that terminates TLS; none: no such")
    plain_port_is_shared: bool = Field(
        True, description="whether the plain port's connections are a balancer's that carry many hosts: they are kept"
    )
    tls_cert_file: Path | None = Field(None, description="PEM certificate chain of the TLS port")
    tls_key_file: Path | None = Field(None, description="PEM private key (PKCS #8) of the TLS port")
    tls_reload_seconds: float = Field(10.0, gt=0, description="how often to look for a renewed certificate")
    command_keys_file: Path = Field(description="PEM file of live-query's Ed25519 public keys, one or several")
    trusted_proxies: str = Field("", description="networks whose X-Forwarded-For is believed, comma separated")
    config_etag: bool = Field(True, description="whether hosts that send an etag hear that their config is unchanged")
    keep_alive_seconds: int = Field(90, ge=1, description="how long a connection may be without a whole request head")
    body_seconds: float = Field(20.0, gt=0, description="how long a body may take to come; osqueryd gives up after 16")
    stuck_seconds: float = Field(30.0, gt=0, description="how long a client may take nothing of its answer")
    gather_seconds: float = Field(
        LONGEST_SECONDS,
        ge=0,
        le=0.02,
        description="how long the TLS port may wait at most for more requests, where many come; 0: never",
    )
    seen_first_seconds: float = Field(2.0, gt=0, description="when hosts that polled are first reported")
    seen_interval_seconds: float = Field(10.0, gt=0, description="how often they are reported then")
    workers: int = Field(1, ge=1, le=256, description="processes that share the ports; health of n at HEALTH_PORT + n")
    worker: int = Field(0, ge=0, description="which of the workers this is; set by their parent, never by people")
    host_log_bytes_per_second: float = Field(
        Limits.host_log_bytes_per_second, ge=0, description="log bodies of one host, 16 s of it at once; 0: no limit"
    )
    host_write_bytes_per_second: float = Field(
        Limits.host_write_bytes_per_second, ge=0, description="results of one host, 16 s of it at once; 0: no limit"
    )
    address_failures_per_second: float = Field(
        Limits.address_failures_per_second,
        ge=0,
        description="unknown keys, bad secrets and malformed bodies of one address, 60 s of it at once; 0: no limit",
    )
    streams_full_at: float = Field(
        Limits.full_at,
        ge=0.5,
        le=1,
        description="share of the limits of LOGS, RESULTS, CARVES from which nothing is taken",
    )

    @property
    def certificate(self) -> Certificate | None:
        """The TLS port's certificate, None when there is no such port."""
        if self.tls_port is None or self.tls_cert_file is None or self.tls_key_file is None:
            return None
        return Certificate(self.tls_cert_file, self.tls_key_file, self.tls_reload_seconds)

    @property
    def patience(self) -> Patience:
        """How long connections are waited for."""
        return Patience(self.keep_alive_seconds, self.stuck_seconds)

    @property
    def limits(self) -> Limits:
        """What one process grants."""
        return Limits(
            self.host_log_bytes_per_second,
            self.host_write_bytes_per_second,
            self.address_failures_per_second,
            self.streams_full_at,
        )

    @property
    def is_parent(self) -> bool:
        """Whether this process serves nobody itself and watches workers that do."""
        return self.workers > 1 and not self.worker

    @property
    def bus_name(self) -> str:
        """The name of this process's connection to the bus."""
        return f"{self.nats_user} worker {self.worker}" if self.worker else self.nats_user

    def health_port_of(self, worker: int) -> int:
        """Return where a worker answers for its health and has its metrics; 0 = any free port."""
        return self.health_port and self.health_port + worker

    @model_validator(mode="after")
    def _has_room_for_workers(self) -> Settings:
        if self.workers > 1 and not sys.platform.startswith("linux"):
            message = "FLOTILLA_WORKERS above 1 needs Linux, which spreads the connections to one port over processes"
            raise ValueError(message)
        if self.worker > self.workers or (self.worker and self.workers == 1):
            message = "FLOTILLA_WORKER is for workers alone, whose parent sets it"
            raise ValueError(message)
        if self.workers > 1 and self.health_port_of(self.workers) > LAST_PORT:
            message = "FLOTILLA_HEALTH_PORT leaves no ports for the workers behind it"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _listens_somewhere(self) -> Settings:
        if self.tls_port is None and self.plain_port is None:
            message = "set FLOTILLA_TLS_PORT, FLOTILLA_PLAIN_PORT or both"
            raise ValueError(message)
        if self.tls_port is not None and (self.tls_cert_file is None or self.tls_key_file is None):
            message = "FLOTILLA_TLS_PORT needs FLOTILLA_TLS_CERT_FILE and FLOTILLA_TLS_KEY_FILE"
            raise ValueError(message)
        return self
