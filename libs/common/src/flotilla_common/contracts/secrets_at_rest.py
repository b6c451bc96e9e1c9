"""Secrets at rest: encrypted for those who may read them, hashed with a key for those who look them up.

The key file (32 random bytes in base64) is shared by admin-api, which writes enroll secrets, and inventory, which only
looks them up. log-shipper keeps the secrets of log destinations with a key of its own. Each use has a derived key.
"""

from __future__ import annotations

import hashlib
import hmac


def enroll_secret_lookup(key: bytes, secret: str) -> bytes:
    """Return the 32-byte lookup hash of an enroll secret: HMAC-SHA256 under a key derived for this use."""
    derived = hmac.new(key, b"flotilla enroll secret lookup v1", hashlib.sha256).digest()
    return hmac.new(derived, secret.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()


def enroll_secret_encryption_key(key: bytes) -> bytes:
    """Return the 32-byte AES-256-GCM key that encrypts enroll secrets."""
    return hmac.new(key, b"flotilla enroll secret encryption v1", hashlib.sha256).digest()


def log_destination_encryption_key(key: bytes) -> bytes:
    """Return the 32-byte AES-256-GCM key that encrypts the secrets of log destinations."""
    return hmac.new(key, b"flotilla log destination encryption v1", hashlib.sha256).digest()
