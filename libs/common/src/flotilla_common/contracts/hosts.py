"""Stream HOSTS and the requests about hosts. Published and answered by inventory alone."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from pydantic import Field

from flotilla_common.contracts.base import Answer, Event, Message, Request, SecretOnBus
from flotilla_common.errors import Denied


class HostRecord(Message):
    """All that a gateway keeps of a host. Who holds a record with a higher `revision` ignores this one.

    `node_key_hash` is 32 hexadecimal digits (`contracts.node_keys`), None when no key is valid; so is `orbit_key_hash`.
    `scope_labels` are the host's labels among those that scope a query, ascending; they are part of its class.
    """

    host_id: int
    revision: int
    node_key_hash: str | None
    team_id: int | None = None
    platform: str = ""
    scope_labels: tuple[int, ...] = ()
    orbit_key_hash: str | None = None


class HostEnrolledV1(Event):
    """A host's osqueryd or orbit traded an enroll secret for a key; `first_time`: the host was not known before.

    `retired_key_hashes` are of node keys or orbit keys that are dead from now on.
    """

    subject: ClassVar[str] = "hosts.enrolled.v1"

    host: HostRecord
    first_time: bool = False
    retired_key_hashes: tuple[str, ...] = ()


class HostChangedV1(Event):
    """A host's team, platform or scope labels changed, or it lost a key: `retired_key_hashes` are dead from now on."""

    subject: ClassVar[str] = "hosts.changed.v1"

    host: HostRecord
    retired_key_hashes: tuple[str, ...] = ()


class HostDeletedV1(Event):
    """A host is gone: its key is invalid from now on."""

    subject: ClassVar[str] = "hosts.deleted.v1"

    host: HostRecord


class ScopeChangedV1(Event):
    """The set of labels that scope queries changed: records older than `revision` count as misses."""

    subject: ClassVar[str] = "hosts.scope_changed.v1"

    revision: int
    scope_labels: tuple[int, ...]


class HostsSeenV1(Event):
    """Hosts that polled lately; core NATS, every 10 s. Losing one costs a late "seen".

    `bitmap` is a serialized roaring bitmap of host ids in base64; `logged` one of those whose log lines came into
    custody (empty: nobody's).
    """

    subject: ClassVar[str] = "hosts.seen.v1"

    bitmap: str
    seen_at: datetime
    logged: str = ""


class EnrollRefusedV1(Event):
    """An enroll secret was shown that exists, and was refused; told once an hour for a secret and a reason.

    `reason` is the refusal's code: `enroll_secret_expired`, `enroll_secret_used_up`, `enroll_secret_wrong_network`.
    """

    subject: ClassVar[str] = "hosts.enroll_refused.v1"

    secret_id: int
    team_id: int | None = None
    reason: str
    host_identifier: str = ""
    remote_address: str = ""


class HostIdentitySharedV1(Event):
    """Two machines that live at the same time enroll under one identifier; told once for a host.

    `host_id` is the host that the first of them keeps. `decision` says what becomes of the others: `separate`, each is
    a host of its own, or `hold`, they are refused. `differs` names what tells the machines apart: `hardware_serial`,
    `instance_id`, `boot_id` or `address`.
    """

    subject: ClassVar[str] = "hosts.identity_shared.v1"

    host_id: int
    decision: str
    differs: str
    host_identifier: str = ""
    newcomer_serial: str = ""
    newcomer_address: str = ""


class BadEnrollSecret(Denied):
    """The enroll secret is unknown or retired."""

    code = "bad_enroll_secret"


class EnrollSecretExpired(BadEnrollSecret):
    """The enroll secret was good until a moment that has passed."""

    code = "enroll_secret_expired"


class EnrollSecretUsedUp(BadEnrollSecret):
    """The enroll secret has let in as many hosts as it may."""

    code = "enroll_secret_used_up"


class EnrollSecretWrongNetwork(BadEnrollSecret):
    """The enroll secret is good, from other networks."""

    code = "enroll_secret_wrong_network"


class IdentityHeld(Denied):
    """Another machine has this identity and is alive: this one is not let in until a person decides."""

    code = "identity_held"


class EnrollsTooOften(Denied):
    """The host has enrolled a moment ago: the installation wants it to wait before it enrolls again."""

    code = "enrolling_too_often"


class EnrolledV1(Answer):
    """The new node key, shown this once, and the record that goes with it."""

    node_key: SecretOnBus
    host: HostRecord


class EnrollHostV1(Request[EnrolledV1]):
    """Enroll a host. `host_details` is table -> column -> value, all strings, any part of it may be missing.

    `waited_seconds` is how long the request waited at the door: a duration, since no two clocks agree. Of two requests
    for one host the one asked later keeps its key, whichever comes first: hosts send a request again when its
    connection breaks.

    Raises (at the caller): BadEnrollSecret (its subclasses say more); IdentityHeld; EnrollsTooOften; Unavailable (also
    when the request comes too late).
    """

    subject: ClassVar[str] = "inventory.enroll_host.v1"
    answer: ClassVar[type[Answer]] = EnrolledV1
    timeout_seconds: ClassVar[float] = 12.0

    enroll_secret: SecretOnBus
    host_identifier: str
    platform_type: str = ""
    host_details: dict[str, dict[str, str]] = {}
    remote_address: str = ""
    waited_seconds: float = Field(default=0.0, ge=0.0, le=3600.0)


class OrbitEnrolledV1(Answer):
    """The new orbit key, shown this once, and the record that goes with it."""

    orbit_node_key: SecretOnBus
    host: HostRecord


class EnrollOrbitV1(Request[OrbitEnrolledV1]):
    """Enroll a host's orbit.

    It and osqueryd are one host, whichever comes first, when `osquery_identifier`, or else `hardware_uuid`, is what
    osqueryd enrolls with. `waited_seconds` as in `EnrollHostV1`.

    Raises (at the caller): BadEnrollSecret (its subclasses say more); IdentityHeld; Unavailable (also when the request
    comes too late).
    """

    subject: ClassVar[str] = "inventory.enroll_orbit.v1"
    answer: ClassVar[type[Answer]] = OrbitEnrolledV1
    timeout_seconds: ClassVar[float] = 12.0

    enroll_secret: SecretOnBus
    hardware_uuid: str
    osquery_identifier: str = ""
    hardware_serial: str = ""
    hardware_model: str = ""
    hostname: str = ""
    computer_name: str = ""
    platform: str = ""
    remote_address: str = ""
    waited_seconds: float = Field(default=0.0, ge=0.0, le=3600.0)


class NodeKeysResolvedV1(Answer):
    """Records of the keys that exist; every other key that was asked for is positively unknown now."""

    hosts: tuple[HostRecord, ...]
    revision: int  # the newest revision that the answer has seen


class ResolveNodeKeysV1(Request[NodeKeysResolvedV1]):
    """Look up many node keys in one request (1,000 at most)."""

    subject: ClassVar[str] = "inventory.resolve_node_keys.v1"
    answer: ClassVar[type[Answer]] = NodeKeysResolvedV1

    key_hashes: tuple[str, ...]


class ResolveOrbitKeysV1(Request[NodeKeysResolvedV1]):
    """Look up many orbit keys in one request (1,000 at most), as `ResolveNodeKeysV1` does node keys."""

    subject: ClassVar[str] = "inventory.resolve_orbit_keys.v1"
    answer: ClassVar[type[Answer]] = NodeKeysResolvedV1

    key_hashes: tuple[str, ...]


class HostsAffectedV1(Answer):
    """How many hosts a request really changed."""

    count: int


class TransferHostsV1(Request[HostsAffectedV1]):
    """Move hosts to a team, or to no team (None). The caller has authorized every id."""

    subject: ClassVar[str] = "inventory.transfer_hosts.v1"
    answer: ClassVar[type[Answer]] = HostsAffectedV1
    timeout_seconds: ClassVar[float] = 10.0

    host_ids: tuple[int, ...]
    team_id: int | None


class DeleteHostsV1(Request[HostsAffectedV1]):
    """Delete hosts for good. The caller has authorized every id."""

    subject: ClassVar[str] = "inventory.delete_hosts.v1"
    answer: ClassVar[type[Answer]] = HostsAffectedV1
    timeout_seconds: ClassVar[float] = 10.0

    host_ids: tuple[int, ...]


class RefetchHostV1(Request[HostsAffectedV1]):
    """Ask for a host's details again at its next poll."""

    subject: ClassVar[str] = "inventory.refetch_host.v1"
    answer: ClassVar[type[Answer]] = HostsAffectedV1

    host_id: int


class ChangeLabelMembersV1(Request[HostsAffectedV1]):
    """Change who is in a manual label: `replace` (when not None) sets the whole membership, then `add` and `remove`."""

    subject: ClassVar[str] = "inventory.change_label_members.v1"
    answer: ClassVar[type[Answer]] = HostsAffectedV1
    timeout_seconds: ClassVar[float] = 10.0

    label_id: int
    replace: tuple[int, ...] | None = None
    add: tuple[int, ...] = ()
    remove: tuple[int, ...] = ()
