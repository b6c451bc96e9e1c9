"""What a segment of the archive says of itself, and how long results stay where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from flotilla_common.campaign_archive import StreamEntry, segment_object
from flotilla_common.contracts.bitmaps import bytes_of
from flotilla_common.db.models.live_query import CampaignSegment

MIB = 1024 * 1024


@dataclass(frozen=True)
class ArchivePolicy:
    """How much is in Redis of an open campaign and of all, how soon an ended one goes, how long results are kept."""

    hot_bytes: int = 8 * MIB
    total_hot_bytes: int = 256 * MIB
    after: timedelta = timedelta(minutes=1)
    keep: timedelta = timedelta(days=30)


def segment_of(campaign_id: int, number: int, entries: Sequence[StreamEntry], stored_size: int) -> CampaignSegment:
    """Return the row of a segment with these entries, one at least, in the order of the stream."""
    first, last = entries[0].position, entries[-1].position
    answered = [entry for entry in entries if entry.fields[b"outcome"] == b"answered" and not entry.fields[b"error"]]
    with_rows = sum(entry.fields[b"row_count"] != b"0" for entry in answered)
    return CampaignSegment(
        campaign_id=campaign_id,
        number=number,
        object_name=segment_object(campaign_id, number, last),
        first_ms=first.milliseconds,
        first_number=first.number,
        last_ms=last.milliseconds,
        last_number=last.number,
        answers=len(entries),
        with_rows=with_rows,
        without_rows=len(answered) - with_rows,
        rows=sum(int(entry.fields[b"row_count"]) for entry in entries),
        size=sum(entry.size for entry in entries),
        stored_size=stored_size,
        hosts=bytes_of(hosts_of(entries)),
    )


def hosts_of(entries: Sequence[StreamEntry]) -> list[int]:
    """Return who answers in these entries."""
    return [int(entry.fields[b"host"]) for entry in entries]
