"""Destinations of logs: what people say of one. log-shipper alone keeps them and delivers to them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints

from flotilla_common.contracts.base import Answer, Message, Request, SecretOnBus
from flotilla_common.contracts.log_replays import Span
from flotilla_common.contracts.logs import LOG_TYPES, LogType

DestinationName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=255)]
MOST_NAMES = 1000
Origin = Literal["environment", "file", "api"]


class _Words(Message):
    """What a person wrote: a member that nobody knows is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LogFilter(_Words):
    """Which lines a destination takes: those that match every member that is given, and any value of each.

    `queries` and `packs` are names as people gave them; status lines have neither. `teams` are ids, 0 for hosts without
    a team when they sent the line. `labels` are ids and `platforms` osquery's names (`ubuntu`, `darwin`, `windows`):
    both are the host's when the line is delivered, and a deleted host has none.
    """

    log_types: frozenset[LogType] = Field(default=frozenset(LOG_TYPES), min_length=1)
    queries: frozenset[Name] | None = Field(default=None, min_length=1, max_length=MOST_NAMES)
    packs: frozenset[Name] | None = Field(default=None, min_length=1, max_length=MOST_NAMES)
    teams: frozenset[int] | None = Field(default=None, min_length=1, max_length=MOST_NAMES)
    labels: frozenset[int] | None = Field(default=None, min_length=1, max_length=MOST_NAMES)
    platforms: frozenset[Name] | None = Field(default=None, min_length=1, max_length=MOST_NAMES)


class Batching(_Words):
    """When a batch is cut; what is not given is the kind's own, and no limit of a kind can be raised."""

    bytes: int | None = Field(default=None, ge=1024)
    lines: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, ge=0, le=3600)


class Rate(_Words):
    """How fast lines go out at most."""

    lines_per_second: float | None = Field(default=None, gt=0)
    bytes_per_second: float | None = Field(default=None, gt=0)


class Retry(_Words):
    """Seconds to wait after the first failure; they double with each, up to the longest."""

    first_seconds: float = Field(default=0.5, gt=0, le=3600)
    longest_seconds: float = Field(default=30.0, gt=0, le=3600)


class Backlog(_Words):
    """What becomes of lines that a destination lacks for long: because it is down, paused, or slow.

    Beyond `bytes` of the stream (not given: a quarter of its limit) they go to the blob store and come back from there;
    with `when_full` `dead_letter` they become dead letters instead, once a delivery fails. For one that is `required`
    everything waits in the stream, and when that is full hosts keep their lines.
    """

    bytes: int | None = Field(default=None, ge=1024 * 1024)
    when_full: Literal["spill", "dead_letter"] = "spill"
    required: bool = False


class Destination(_Words):
    """A place that lines go to. `settings` are those of its kind, secrets among them."""

    name: DestinationName
    kind: Name
    settings: dict[str, Any] = Field(default_factory=dict, repr=False)
    filter: LogFilter = LogFilter()
    batch: Batching = Batching()
    rate: Rate = Rate()
    retry: Retry = Retry()
    backlog: Backlog = Backlog()


class DestinationState(Message):
    """A destination as people see it. `spec` is a `Destination` as JSON whose secrets are masked."""

    name: str
    kind: str
    origin: Origin
    spec: dict[str, Any]
    revision: int
    created_at: datetime
    paused_at: datetime | None = None
    failing_since: datetime | None = None
    last_error: str = ""
    is_undeclared: bool = False
    """No replica has found it in its environment or file for a while; it is taken away soon."""


class DestinationsAnsweredV1(Answer):
    """All destinations, by name, and the kinds that there can be: kind -> JSON schema of its settings."""

    destinations: tuple[DestinationState, ...]
    kinds: dict[str, dict[str, Any]]


class DestinationsV1(Request[DestinationsAnsweredV1]):
    """Show all destinations."""

    subject: ClassVar[str] = "log_shipper.destinations.v1"
    answer: ClassVar[type[Answer]] = DestinationsAnsweredV1


class DestinationAnsweredV1(Answer):
    """A destination after a change."""

    destination: DestinationState


class PutDestinationV1(Request[DestinationAnsweredV1]):
    """Make a destination, or change one. `document` is a `Destination` as JSON; a secret may be its mask, when kept.

    A new one gets the lines that come from now on; with `begin`, all that is kept from there on.

    Refused: `conflict` when one is to be made and its name is taken, when it changed since `revision`, when it is
    declared by environment or file; `not_found` when there is none to change; `invalid` with words for people.
    """

    subject: ClassVar[str] = "log_shipper.put_destination.v1"
    answer: ClassVar[type[Answer]] = DestinationAnsweredV1

    document: SecretOnBus
    is_new: bool
    revision: int | None = None
    begin: Span | None = None


class RemoveDestinationV1(Request[DestinationAnsweredV1]):
    """Take a destination away: what it lacks counts as filtered. Refused as `PutDestinationV1` is."""

    subject: ClassVar[str] = "log_shipper.remove_destination.v1"
    answer: ClassVar[type[Answer]] = DestinationAnsweredV1

    name: str


class PauseDestinationV1(Request[DestinationAnsweredV1]):
    """Stop deliveries to a destination, or let them go on; its lines wait meanwhile. Declared ones too."""

    subject: ClassVar[str] = "log_shipper.pause_destination.v1"
    answer: ClassVar[type[Answer]] = DestinationAnsweredV1

    name: str
    is_paused: bool


class DestinationTriedV1(Answer):
    """What came of a try: `error` is empty when the destination took the line."""

    error: str = ""
    place: str = ""
    milliseconds: int = 0


class TryDestinationV1(Request[DestinationTriedV1]):
    """Send one line to a destination, given by `document` as in `PutDestinationV1`, or by `name`, and report."""

    subject: ClassVar[str] = "log_shipper.try_destination.v1"
    answer: ClassVar[type[Answer]] = DestinationTriedV1
    timeout_seconds: ClassVar[float] = 20.0

    name: str = ""
    document: SecretOnBus | None = None
