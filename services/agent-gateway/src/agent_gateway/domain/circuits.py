"""Whether somebody who is asked does answer. Who does not is left alone, but for one question a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import structlog
from flotilla_common.contracts.base import A, Request
from flotilla_common.errors import NotNow, Unavailable

log = structlog.get_logger()

PROBE_SECONDS = 1.0


class Ask(Protocol):
    """Asks the owner of some state, over the bus."""

    async def __call__(self, request: Request[A], /) -> A:
        """Return its answer, or raise what it raised."""
        ...


class Circuit:
    """Opens after `tolerance` failures in a row. While it is open one question every PROBE_SECONDS is let through.

    The time begins anew when a question fails: where that takes longer, one who asks again and again is refused at
    once in between, and does not wait each time.

    It closes with the first success, that of a question asked before it opened too: somebody answers.
    """

    def __init__(self, name: str, *, tolerance: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._tolerance = tolerance
        self._clock = clock
        self._failures = 0
        self._probe_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether only probes are let through."""
        return self._probe_at is not None

    def refuses(self) -> bool:
        """Whether a question asked now would not be let through. Changes nothing."""
        return self._probe_at is not None and self._clock() < self._probe_at

    def lets_through(self) -> bool:
        """Say whether this question may be asked: while the circuit is open, yes makes it the next second's probe."""
        if self._probe_at is None:
            return True
        now = self._clock()
        if now < self._probe_at:
            return False
        self._probe_at = now + PROBE_SECONDS
        return True

    def check(self) -> None:
        """Let this question through, as `lets_through` does.

        Raises:
            Unavailable: it may not be asked now.

        """
        if not self.lets_through():
            raise Unavailable(f"{self.name}: no answer")

    def succeeded(self) -> None:
        """Note that a question was answered."""
        self._failures = 0
        if self._probe_at is not None:
            self._probe_at = None
            log.info("answers again", what=self.name)

    def failed(self, error: Exception, *, for_certain: bool = False) -> None:
        """Note that a question was not answered; `for_certain` opens the circuit at once."""
        self._failures += 1
        was_open = self.is_open
        if was_open or for_certain or self._failures >= self._tolerance:
            self._probe_at = self._clock() + PROBE_SECONDS
        if self.is_open and not was_open:
            log.warning("does not answer: refused from now on", what=self.name, error=str(error))

    def asking(self, ask: Ask) -> Ask:
        """Return `ask` behind this circuit, which learns from whatever comes of each question."""

        async def ask_if_it_answers(request: Request[A], /) -> A:
            self.check()
            try:
                answer = await ask(request)
            except Exception as error:
                self.learn(error)
                raise
            self.succeeded()
            return answer

        return ask_if_it_answers

    def learn(self, error: Exception) -> None:
        """Note what an error says about who was asked: all that is not `Unavailable`, and `NotNow`, is an answer."""
        if isinstance(error, Unavailable) and not isinstance(error, NotNow):
            self.failed(error)
        else:
            self.succeeded()
