"""An S3 server: moto's, from the virtual environment."""

import sys
from pathlib import Path
from typing import ClassVar

from flotilla_stack.http import fetch
from flotilla_stack.servers.base import Server

# moto looks only at the service name in the credential's scope, to know which of its services is meant.
SCOPE = "AWS4-HMAC-SHA256 Credential=flotilla/20250101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
UNSIGNED = {"Authorization": SCOPE}


class S3(Server):
    """The S3 API as moto implements it: real objects over HTTP; any key and secret are accepted.

    With `durable` objects are kept in the directory (see s3_server.py), else they live as long as the process. Never
    test authentication against it.
    """

    name: ClassVar[str] = "s3"

    def __init__(self, directory: Path, *, port: int | None = None, durable: bool = True) -> None:
        super().__init__(directory, port=port)
        self.durable = durable

    def prepare(self) -> None:
        """Create the directory."""
        self.make_directory()

    def command(self) -> list[str]:
        """Start moto's threaded server."""
        if self.durable:
            return [sys.executable, "-m", "flotilla_stack.s3_server", str(self.port), str(self.directory / "objects")]
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def is_ready(self) -> bool:
        """Ask for the list of buckets."""
        try:
            return b"ListAllMyBucketsResult" in fetch(f"{self.endpoint}/", headers=UNSIGNED)
        except OSError:
            return False

    @property
    def endpoint(self) -> str:
        """The address for S3 clients, path style."""
        return f"http://127.0.0.1:{self.port}"

    def create_bucket(self, name: str) -> None:
        """Create a bucket; an existing one stays as it is."""
        fetch(f"{self.endpoint}/{name}", method="PUT", headers=UNSIGNED, timeout=10)
