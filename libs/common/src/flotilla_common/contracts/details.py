"""Bucket DETAILS: what hosts of a platform are asked about themselves. Written by inventory alone.

Key: `details_key(platform)`; value: a JSON object, query name -> SQL. A platform without a key is asked nothing.
"""

from __future__ import annotations

import hashlib

BUCKET = "DETAILS"


def details_key(platform: str) -> str:
    """Return the key of a platform: 32 hexadecimal digits of a hash, since a platform is whatever a host says."""
    return hashlib.sha256(platform.encode()).hexdigest()[:32]
