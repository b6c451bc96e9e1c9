"""What was offered to whom, kept small while a campaign asks nobody: it may only be paused."""

from __future__ import annotations

from array import array

Offers = dict[int, tuple[int, float]]
"""Host id -> attempts made, and the Unix time before which it is not asked again."""


class KeptOffers:
    """The same in 20 bytes per host instead of some 200: ended campaigns are kept for an hour, whatever ended them."""

    def __init__(self, offers: Offers) -> None:
        self._hosts = array("q", offers)
        self._attempts = array("i", (attempts for attempts, _ in offers.values()))
        self._not_before = array("d", (not_before for _, not_before in offers.values()))

    def __len__(self) -> int:
        return len(self._hosts)

    def unpack(self) -> Offers:
        """Return what was kept."""
        made = zip(self._attempts, self._not_before, strict=True)
        return dict(zip(self._hosts, made, strict=True))
