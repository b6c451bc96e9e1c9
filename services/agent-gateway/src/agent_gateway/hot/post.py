"""A post whose lines or answers are on their way into custody, without a task that waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
from flotilla_common.errors import FleetError

from agent_gateway.asgi import Answerer, headers_of
from agent_gateway.domain.posts import TAKEN, Tally
from agent_gateway.refusals import LAST_RESORT, error_body, error_headers, error_status

if TYPE_CHECKING:
    from agent_gateway.domain.counters import Counters
    from agent_gateway.domain.roads import Road
    from agent_gateway.domain.surfaces import Headers

log = structlog.get_logger()


class Post(Tally):
    """Answers once all of it is known to be in custody, or not. `ended` is called just before, whatever came of it."""

    __slots__ = ("_answerer", "_counters", "_ended", "_finish", "_more", "_road")
    _finish: Callable[[], None]

    def __init__(
        self, road: Road, more: Headers, counters: Counters, answerer: Answerer, ended: Callable[[], None]
    ) -> None:
        super().__init__()
        self._road, self._more, self._counters = road, more, counters
        self._answerer, self._ended = answerer, ended

    def wait_for(self, pieces: int, finish: Callable[[], None]) -> None:
        """Answer when so many pieces are known; `finish` is called first if all are in custody."""
        self._finish = finish
        self.expect(pieces)

    def fail(self, failure: Exception) -> None:
        """Answer that it failed, whatever becomes of pieces that were handed over."""
        self._failure = failure
        self.end()

    def end(self) -> None:
        """Answer."""
        self._ended()
        if self._failure is None:
            try:
                self._finish()
            except Exception as error:  # noqa: BLE001 - told below
                self._failure = error
        status, headers, body = (200, [], TAKEN) if self._failure is None else self._said(self._failure)
        self._failure = None  # its frames hold the body, and us
        self._answerer(status, headers_of(body, headers, self._more), body)

    def _said(self, failure: Exception) -> tuple[int, Headers, bytes]:
        """Return status, headers and body of a failure, and count it."""
        if isinstance(failure, FleetError):
            self._counters.failures[failure.code] += 1
            return error_status(failure), error_headers(failure), error_body(failure, self._road.surface)
        self._counters.failures["internal"] += 1
        log.error("request failed", endpoint=self._road.endpoint, exc_info=failure)
        return 500, [], LAST_RESORT
