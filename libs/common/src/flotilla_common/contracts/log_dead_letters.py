"""Dead letters of log destinations: lines refused for good, with the reason. log-shipper alone keeps them."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from pydantic import Field

from flotilla_common.contracts.base import Answer, Message, Request

MOST_IDS = 1000
MOST_ON_A_PAGE = 1000


class LetterChoice(Message):
    """Which letters are meant: those that match every member that is given."""

    ids: tuple[int, ...] | None = Field(default=None, max_length=MOST_IDS)
    destination: str | None = None
    log_type: str | None = None
    reason: str | None = None


class DeadLetter(Message):
    """Lines of one message of the stream, refused for one reason.

    `hour`: when custody began. `is_readable` false: the message itself makes no sense, or its lines are gone; it cannot
    be tried again. `size_bytes` is that of the lines with what goes with them.
    """

    id: int
    destination: str
    log_type: str
    hour: datetime
    sequence: int
    lines: int
    size_bytes: int
    reason: str
    is_readable: bool
    created_at: datetime
    replay_asked_at: datetime | None = None


class DeadLettersAnsweredV1(Answer):
    """A page of letters, oldest first; `count` and `lines` are of all that were chosen."""

    letters: tuple[DeadLetter, ...]
    count: int
    lines: int


class DeadLettersV1(Request[DeadLettersAnsweredV1]):
    """List dead letters behind an id."""

    subject: ClassVar[str] = "log_shipper.dead_letters.v1"
    answer: ClassVar[type[Answer]] = DeadLettersAnsweredV1

    choice: LetterChoice = LetterChoice()
    after_id: int = 0
    most: int = Field(default=100, ge=1, le=MOST_ON_A_PAGE)


class DeadLetterAnsweredV1(Answer):
    """A letter with what it holds, as text: bytes that are no UTF-8 are replaced. `is_cut`: there is more."""

    letter: DeadLetter
    contents: tuple[str, ...]
    is_cut: bool


class DeadLetterV1(Request[DeadLetterAnsweredV1]):
    """Look into a dead letter. Refused: `not_found`."""

    subject: ClassVar[str] = "log_shipper.dead_letter.v1"
    answer: ClassVar[type[Answer]] = DeadLetterAnsweredV1

    id: int


class LettersTouchedV1(Answer):
    """How many letters it was about, and their lines."""

    count: int
    lines: int


class ReplayDeadLettersV1(Request[LettersTouchedV1]):
    """Try the chosen letters again, those that can be read. Refused: `invalid` when their destination is gone."""

    subject: ClassVar[str] = "log_shipper.replay_dead_letters.v1"
    answer: ClassVar[type[Answer]] = LettersTouchedV1

    choice: LetterChoice


class DiscardDeadLettersV1(Request[LettersTouchedV1]):
    """Throw the chosen letters away, those that are not being tried again. In the books they stay dead letters."""

    subject: ClassVar[str] = "log_shipper.discard_dead_letters.v1"
    answer: ClassVar[type[Answer]] = LettersTouchedV1
    timeout_seconds: ClassVar[float] = 30.0

    choice: LetterChoice
