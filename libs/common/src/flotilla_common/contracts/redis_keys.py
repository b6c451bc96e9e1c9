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
    given in `StopCampaignV1`). Entries leave the front of the stream once they are in a segment of the archive
    (`campaign_archive`), which has them under the same positions; the key goes when all of them are. Whoever reads
    behind a position that is not in the stream any more looks for segments, after the read. While the campaign is open
    and has no segments, an absent key means that nobody has answered yet.
    """
    return f"campaign:{{{campaign_id}}}:rows"


def campaign_seen(campaign_id: int) -> str:
    """Hash host id -> JSON of the first answer's ledger entry. Written by live-query alone, in the rows' script.

    A host leaves it when its answer is archived and in the ledger. `#bytes` counts the bytes of rows and errors kept so
    far, archived ones included; `#end` is set once the end entry is in the stream.
    """
    return f"campaign:{{{campaign_id}}}:seen"


def login_attempts(bucket: str) -> str:
    """Counter of the login rate limit. Written and read by admin-api alone."""
    return f"login:{bucket}"
