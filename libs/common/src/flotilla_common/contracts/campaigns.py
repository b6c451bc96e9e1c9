"""Bucket CAMPAIGNS, stream ANSWERS and the requests about live queries. live-query decides; gateways carry.

Bucket keys: `<id>.command` -> signed command (exact bytes); `<id>.done` -> serialized roaring bitmap of settled hosts;
`<id>.released` -> signed Released, of campaigns that ask so many hosts at a time; `switch` -> signed Switch, absent
until it was turned for the first time.
A campaign ends, or pauses, when its command is deleted from the bucket. Bitmaps of more than INLINE_BYTES are in object
store TARGETS, and their SHA-256 stands in their place.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from flotilla_common.contracts.base import Answer, Event, Request
from flotilla_common.errors import Poison

BUCKET = "CAMPAIGNS"
ANSWERS_STREAM = "ANSWERS"
QUERY_PREFIX = "fleet_distributed_query_"
SIGNATURE_BYTES = 64
COMMAND_MAGIC = b"FQC1"
SWITCH_KEY = "switch"
STORE = "TARGETS"
INLINE_BYTES = 512 * 1024
DONE_BY_HASH_MAGIC = b"FQH1"  # no bitmap begins so
OFFER_AGAIN_SECONDS = 60.0

CampaignKind = Literal["viewer", "durable", "synchronous"]
"""viewer: ends 60 s after its last viewer left; durable: lives to its deadline; synchronous: ends with its wait."""


def command_key(campaign_id: int) -> str:
    """Return the bucket key of a campaign's signed command."""
    return f"{campaign_id}.command"


def done_key(campaign_id: int) -> str:
    """Return the bucket key of a campaign's settled hosts."""
    return f"{campaign_id}.done"


def released_key(campaign_id: int) -> str:
    """Return the bucket key of the hosts that a ramped campaign may ask by now."""
    return f"{campaign_id}.released"


def answers_subject(shard: int) -> str:
    """Return a subject of answers: a message is a JSON array of batches, those of several hosts.

    The shard is one gateway's own, whichever hosts it serves: so many more share a message (docs/decisions/0033).
    On `answers.campaign.v1.<shard>`, of which there may be some left, a message is one batch.
    """
    return f"answers.campaign.v2.{shard}"


class CampaignCommand(msgspec.Struct, frozen=True):
    """What the gateways are told to ask. On the wire: COMMAND_MAGIC, 64 bytes of Ed25519 signature over the rest, JSON.

    `targets` is a serialized roaring bitmap of host ids; when it is in the object store it is empty here, and
    `targets_hash` its SHA-256 in hexadecimal. `allowed_teams` (0 = no team) is checked against the host's current team
    at each offer, None allows all. Answers carry on `trace` as children of `span`. A `ramped` one asks only hosts that
    the newest Released names, none before there is one.
    """

    campaign_id: int
    sql: str
    started_at: float  # Unix time
    deadline: float  # Unix time
    trace: str  # 32 hexadecimal digits: W3C trace id
    targets: bytes
    allowed_teams: list[int] | None = None
    targets_hash: str = ""
    span: str = ""  # 16 hexadecimal digits: the span of the campaign's start
    ramped: bool = False


class Released(msgspec.Struct, frozen=True, tag_field="kind", tag="released"):
    """The hosts that a ramped campaign may ask by now; signed and laid out as a command. The set only grows.

    `hosts` is a serialized roaring bitmap; when it is in the object store it is empty, and `hosts_hash` names it.
    """

    campaign_id: int
    hosts: bytes
    hosts_hash: str = ""


class Switch(msgspec.Struct, frozen=True, tag_field="kind", tag="switch"):
    """Whether hosts are asked anything at all; signed and laid out as a command. Of two the later one holds.

    While it is `halted` no gateway offers a query. Campaigns go on existing, and answers that come count.
    """

    halted: bool
    at: float  # Unix time, by the database's clock


def encode_done_hash(name: str) -> bytes:
    """Return the bucket value that says where a large set of settled hosts is."""
    return DONE_BY_HASH_MAGIC + name.encode("ascii")


def done_hash_of(value: bytes) -> str | None:
    """Return the name of the object that a value of `<id>.done` points to, None when it is the bitmap itself."""
    begin = len(DONE_BY_HASH_MAGIC)
    return value[begin:].decode("ascii", "replace") if value.startswith(DONE_BY_HASH_MAGIC) else None


def encode_command(signature: bytes, payload: bytes) -> bytes:
    """Return a signed bucket value: magic, signature over `payload`, payload (JSON of CampaignCommand or Switch)."""
    if len(signature) != SIGNATURE_BYTES:
        message = f"a signature has {SIGNATURE_BYTES} bytes"
        raise ValueError(message)
    return COMMAND_MAGIC + signature + payload


def split_command(value: bytes) -> tuple[bytes, bytes]:
    """Return signature and payload of a bucket value. Nothing of the payload may be believed before it is verified.

    Raises:
        Poison: the value is too short or does not begin with the magic.

    """
    begin = len(COMMAND_MAGIC)
    if not value.startswith(COMMAND_MAGIC) or len(value) <= begin + SIGNATURE_BYTES:
        raise Poison("not a signed command")
    return value[begin : begin + SIGNATURE_BYTES], value[begin + SIGNATURE_BYTES :]


class CampaignAnswer(msgspec.Struct, frozen=True):
    """One host's answer to one campaign. `rows` are the host's bytes: a JSON array of objects with string values.

    `attempt` is 0 when the host sent the bare query name back. `truncated` says that the host sent more rows than one
    message can carry. `offered_ms` (Unix) is when the gateway gave the host the query, 0: another one did, or nobody
    knows any more.
    """

    campaign_id: int
    attempt: int
    status: int
    message: str
    rows: msgspec.Raw
    stats: msgspec.Raw
    truncated: bool = False
    offered_ms: int = 0


class AnswerBatch(msgspec.Struct, frozen=True):
    """What one `distributed/write` brought, or a part of it. `trace_parent` (W3C): whose trace it goes on; or empty."""

    v: int
    host_id: int
    team_id: int  # 0 = no team
    received_ms: int
    answers: list[CampaignAnswer]
    trace_parent: str = ""


class CampaignViewedV1(Event):
    """Somebody is watching a campaign; core NATS, sent by admin-api every 10 s per watched campaign."""

    subject: ClassVar[str] = "campaigns.viewed.v1"

    campaign_id: int


class CampaignOfferedV1(Event):
    """Hosts that took a campaign's query and did not answer at once; core NATS, sent by gateways every 5 s.

    Losing one costs a detail of the ledger. `bitmap` is a serialized roaring bitmap of host ids in base64.
    """

    subject: ClassVar[str] = "campaigns.offered.v1"

    campaign_id: int
    bitmap: str


class TargetCounts(Answer):
    """Hosts of a selection, by state (admin API part 15: `Metrics`)."""

    total: int
    online: int
    offline: int
    missing_in_action: int
    new: int


class CampaignStartedV1(Answer):
    """A campaign that gateways are being told of."""

    campaign_id: int
    created_at: datetime
    counts: TargetCounts


class Budget(Answer):
    """What all hosts of a campaign together may cost; None is without limit. Whoever goes above one is paused.

    Rows and bytes of JSON are those that hosts sent, processor time (user and system) is what they claim, ten minutes
    each at most. `max_failures` counts hosts that failed, `max_denylisted` those whose osqueryd refuses the query.
    `hosts_at_a_time` is how many hosts at most have been let ask for the query and are awaited; it pauses nobody.
    """

    max_rows: int | None = None
    max_bytes: int | None = None
    max_cpu_ms: int | None = None
    max_failures: int | None = None
    max_denylisted: int | None = None
    hosts_at_a_time: int | None = None


class StartCampaignV1(Request[CampaignStartedV1]):
    """Start a live query. The caller has authorized every id and passes the teams that the person may query.

    A host is targeted when it is in `host_ids`, or matches the selected labels and teams (admin API part 14), within
    `allowed_team_ids` (0 = no team; None = all). `deadline` belongs to durable campaigns, `wait_seconds` to
    synchronous ones. A repeat with the same `request_id` starts nothing and gets the answer to the first.

    Raises (at the caller): Invalid when nothing is targeted or a deadline is out of bounds.
    """

    subject: ClassVar[str] = "live_query.start_campaign.v1"
    answer: ClassVar[type[Answer]] = CampaignStartedV1
    timeout_seconds: ClassVar[float] = 10.0  # whoever gives up may leave a campaign behind that nobody knows

    sql: str
    query_id: int | None
    user_id: int
    kind: CampaignKind = "viewer"
    host_ids: tuple[int, ...] = ()
    label_ids: tuple[int, ...] = ()
    team_ids: tuple[int, ...] = ()
    allowed_team_ids: tuple[int, ...] | None = None
    deadline: datetime | None = None
    wait_seconds: float | None = None
    trace_id: str = ""
    request_id: UUID | None = None
    budget: Budget = Budget()


class CampaignPausedV1(Answer):
    """Whether this request changed anything: a campaign that has ended, or is so already, stays as it is."""

    changed: bool


class PauseCampaignV1(Request[CampaignPausedV1]):
    """Ask no host any more, or (`paused` false) go on.

    The ledger stays open, answers on their way count for an hour, deadlines go on. `budget` takes the place of the
    campaign's when it goes on, or runs already; None leaves it.

    Raises (at the caller): Conflict when it has ended; Invalid when it is to go on and is above its budget.
    """

    subject: ClassVar[str] = "live_query.pause_campaign.v1"
    answer: ClassVar[type[Answer]] = CampaignPausedV1

    campaign_id: int
    paused: bool
    reason: str = "paused"
    budget: Budget | None = None


class CampaignStoppedV1(Answer):
    """Whether this request ended it, or it had ended before."""

    stopped: bool


class StopCampaignV1(Request[CampaignStoppedV1]):
    """End a campaign: hosts that have not answered are cancelled in its ledger."""

    subject: ClassVar[str] = "live_query.stop_campaign.v1"
    answer: ClassVar[type[Answer]] = CampaignStoppedV1

    campaign_id: int
    reason: str = "stopped"
