"""Redis keys, each with its one writer and its readers."""

from __future__ import annotations


def campaign_rows(campaign_id: int) -> str:
    """Stream of a campaign's settled answers. Written by live-query; read by admin-api (viewers are cursors on it).

    Every entry but the last is one host's answer, and a host has one at most. Fields, all UTF-8 text:

    - `host`: host id, decimal
    - `outcome`: `answered`, `failed` or `denylisted`
    - `error`: what the host said, else a text made from its status; empty when it answered
    - `rows`: JSON array of objects, `[]` when there are none; `row_count` is their number
    - `truncated`: `1` when rows beyond the limit were cut off, else `0`
    - `stats`: JSON object with up to four numbers, or `null`
    - `settled_at`: ISO 8601 time in UTC

    The last entry has the single field `end`: why the campaign ended (`complete`, `deadline`, `stopped` or the reason
    given in `StopCampaignV1`). The key expires 24 h after the end; the ledger in Postgres stays. While the campaign is
    open an absent key means that nobody has answered yet.
    """
    return f"campaign:{{{campaign_id}}}:rows"


def campaign_seen(campaign_id: int) -> str:
    """Hash host id -> JSON of the first answer's ledger entry. Written by live-query alone, in the rows' script.

    `#bytes` counts the bytes of rows and errors kept so far, `#end` is set once the end entry is in the stream.
    """
    return f"campaign:{{{campaign_id}}}:seen"


def login_attempts(bucket: str) -> str:
    """Counter of the login rate limit. Written and read by admin-api alone."""
    return f"login:{bucket}"
