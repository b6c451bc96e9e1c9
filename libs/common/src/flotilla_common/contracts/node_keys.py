"""Node keys: how they are hashed wherever they are kept or looked up. The key itself is never stored."""

from __future__ import annotations

import hashlib
import secrets

NODE_KEY_HASH_BYTES = 16


def new_node_key() -> str:
    """Return a fresh node key: 32 URL-safe characters (24 random bytes)."""
    return secrets.token_urlsafe(24)


def hash_node_key(node_key: str) -> bytes:
    """Return the first 16 bytes of the key's SHA-256. Any text a host may send is hashed, lone surrogates too."""
    return hashlib.sha256(node_key.encode("utf-8", "surrogatepass")).digest()[:NODE_KEY_HASH_BYTES]
