"""Opaque tokens: random, shown once, kept as a hash."""

from __future__ import annotations

import base64
import hashlib
import secrets


def new_token() -> str:
    """Return 64 random bytes in base64: 88 characters."""
    return base64.b64encode(secrets.token_bytes(64)).decode()


def hash_token(token: str) -> bytes:
    """Return what is kept of a token. It is random enough for a plain SHA-256."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def new_enroll_secret() -> str:
    """Return 24 random bytes in base64: 32 characters."""
    return base64.b64encode(secrets.token_bytes(24)).decode()
