"""Why lines wait, or why they cannot be delivered."""

from __future__ import annotations

from flotilla_common.errors import Conflict, Poison, Unavailable


class DestinationDown(Unavailable):
    """The destination does not take the batch now; repeating later can help.

    `retry_after`: the seconds that it asked to be left alone for; 0 when it did not say.
    """

    code = "destination_down"

    def __init__(self, message: str = "", *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class MadeByApi(Conflict):
    """A destination is declared whose name one has that the API made: that one stays as it is."""

    code = "made_by_api"


class StreamMadeAnew(Unavailable):
    """The stream ends before a stored cursor: it was deleted and made again, or restored from an old backup."""

    code = "stream_made_anew"


class BadManifest(Poison):
    """A message of LOGS whose manifest does not describe its lines."""

    code = "bad_manifest"


class SegmentBroken(Unavailable):
    """A part of the stream in the blob store is not what was stored there."""

    code = "segment_broken"
