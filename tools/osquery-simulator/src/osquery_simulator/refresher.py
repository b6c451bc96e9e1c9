"""The configuration thread."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from osquery_simulator.config import SIZE_LIMIT, digest_of
from osquery_simulator.remote import CONFIG, Remote, dumps
from osquery_simulator.signals import Beat
from osquery_simulator.verdict import Verdict

THREAD = "config"
UNCHANGED = "ok"  # the etag by which a server says: keep what you have


@dataclass
class Refresher:
    """Asks for the configuration and hands over what is new."""

    remote: Remote
    configure: Callable[[dict[str, Any]], Awaitable[None]]
    unschedule: Callable[[], Awaitable[None]]
    beat: Beat = field(init=False)
    document: dict[str, Any] = field(default_factory=dict)
    changes: int = 0
    """How often a configuration differed from the one before."""
    is_failing: bool = False
    _digest: str = ""
    _etag: str = ""

    def __post_init__(self) -> None:
        self.beat = Beat(self.remote.clock)

    async def run(self) -> None:
        """Rest, then ask, for ever; after a failure sooner. An interval of 0 means: never."""
        while True:
            seconds = self.remote.flags.number("config_refresh")
            if seconds and self.is_failing:
                seconds = self.remote.flags.number("config_accelerated_refresh")
            await self.beat.rest(seconds or float("inf"))
            await self.round(THREAD)

    async def round(self, thread: str) -> None:
        """Ask once, with retries, and apply what comes; on failure the old configuration stays."""
        members: dict[str, object] = {"etag": self._etag} if self.remote.settings.uses_etag else {}
        attempts = self.remote.flags.number("config_tls_max_attempts")
        verdict = await self.remote.ask_retrying(thread, CONFIG, members, attempts)
        self.is_failing = not verdict.is_success
        if verdict.is_success:
            await self._apply(verdict)

    async def _apply(self, verdict: Verdict) -> None:
        document = dict(verdict.document)
        if self.remote.settings.uses_etag:
            etag = document.pop("etag", None)
            if etag == UNCHANGED:
                return
            self._etag = etag if isinstance(etag, str) else self._etag
        digest = digest_of(document)
        if digest == self._digest:
            return
        self._digest = digest
        self.changes += 1
        if len(dumps(document).encode("utf-8", "replace")) > SIZE_LIMIT:
            # Observed: the old schedule is gone before the size is looked at, and the next request comes no sooner.
            await self.unschedule()
            return
        self.document = document
        await self.configure(document)

    def forget(self) -> None:
        """Lose what was only in memory."""
        self._digest = self._etag = ""
