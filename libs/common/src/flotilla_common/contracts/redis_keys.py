"""Redis keys, each with its one writer and its readers."""

from __future__ import annotations


def campaign_rows(campaign_id: int) -> str:
    """Stream of a campaign's settled answers. Written by live-query; read by admin-api (viewers are cursors on it)."""
    return f"campaign:{{{campaign_id}}}:rows"


def campaign_seen(campaign_id: int) -> str:
    """Hash host id -> outcome of the first answer. Written by live-query alone, in the same script as the rows."""
    return f"campaign:{{{campaign_id}}}:seen"


def login_attempts(bucket: str) -> str:
    """Counter of the login rate limit. Written and read by admin-api alone."""
    return f"login:{bucket}"
