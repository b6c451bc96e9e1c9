"""The TLS port's certificate chain and key, which may be renewed while the gateway runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """Where certificate chain and key are, and how often to look whether they were renewed."""

    cert_file: Path
    key_file: Path
    look_seconds: float = 10.0

    def fingerprint(self) -> bytes:
        """Return a hash of both files."""
        return hashlib.sha256(self.cert_file.read_bytes() + self.key_file.read_bytes()).digest()
