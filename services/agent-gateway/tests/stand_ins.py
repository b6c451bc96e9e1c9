"""Small stand-ins for the services that a gateway asks; each speaks as that service's own NATS user."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flotilla_common.bus.buckets import Bucket
from flotilla_common.bus.connection import Bus
from flotilla_common.bus.objects import Objects
from flotilla_common.contracts.base import Event
from flotilla_common.contracts.campaigns import (
    SWITCH_KEY,
    CampaignCommand,
    Released,
    Switch,
    command_key,
    done_key,
    encode_command,
    released_key,
)
from flotilla_common.contracts.carves import (
    SESSION_DOMAIN,
    BeginCarveV1,
    CarveBegunV1,
    CarveSession,
    encode_session,
    request_digest,
)
from flotilla_common.contracts.device_tokens import (
    DeviceToken,
    DeviceTokenInUse,
    DeviceTokenKeptV1,
    OrbitKeyRetired,
    SetDeviceTokenV1,
)
from flotilla_common.contracts.hosts import (
    BadEnrollSecret,
    EnrolledV1,
    EnrollHostV1,
    EnrollOrbitV1,
    HostDeletedV1,
    HostRecord,
    HostsAffectedV1,
    NodeKeysResolvedV1,
    OrbitEnrolledV1,
    RefetchHostV1,
    ResolveNodeKeysV1,
    ResolveOrbitKeysV1,
)
from flotilla_common.contracts.node_keys import hash_node_key, new_node_key
from flotilla_common.contracts.plans import PlanHead, RenderPlanV1, class_key, config_key, head_key, orbit_key
from flotilla_common.errors import FleetError, Unavailable
from pydantic import SecretStr
from pyroaring import BitMap

SECRET = "let-me-in"
ORBIT_PLAN = (
    b'{"config":{"notifications":{},"script_execution_timeout":600},"desktop":{"config":{"org_info":'
    b'{"org_name":"Example"}},"notifications":{},"self_service":false},'
    b'"transparency_url":"https://example.com/what we see"}'
)


@dataclass
class StandInInventory:
    """Answers for inventory, from a dict."""

    bus: Bus
    records: dict[str, HostRecord] = field(default_factory=dict)
    revision: int = 0
    down: bool = False
    resolves: list[ResolveNodeKeysV1] = field(default_factory=list)
    enrolls: list[EnrollHostV1] = field(default_factory=list)
    hold: asyncio.Event | None = None
    refusal: FleetError | None = None
    orbits: dict[str, HostRecord] = field(default_factory=dict)
    orbit_resolves: list[ResolveOrbitKeysV1] = field(default_factory=list)
    orbit_enrolls: list[EnrollOrbitV1] = field(default_factory=list)
    tokens: dict[str, DeviceToken] = field(default_factory=dict)
    set_tokens: list[SetDeviceTokenV1] = field(default_factory=list)
    refetches: list[int] = field(default_factory=list)

    def next_revision(self) -> int:
        self.revision += 1
        return self.revision

    def add_host(self, host_id: int = 1, *, team_id: int | None = None, platform: str = "ubuntu") -> str:
        """Make a host that enrolled long ago; return its node key."""
        key = new_node_key()
        self.records[hash_node_key(key).hex()] = HostRecord(
            host_id=host_id,
            revision=self.next_revision(),
            node_key_hash=hash_node_key(key).hex(),
            team_id=team_id,
            platform=platform,
        )
        return key

    def add_orbit(self, host_id: int = 1, *, team_id: int | None = None, platform: str = "ubuntu") -> str:
        """Make a host whose orbit alone enrolled, long ago; return its orbit key."""
        key = new_node_key()
        key_hash = hash_node_key(key).hex()
        self.orbits[key_hash] = HostRecord(
            host_id=host_id,
            revision=self.next_revision(),
            node_key_hash=None,
            orbit_key_hash=key_hash,
            team_id=team_id,
            platform=platform,
        )
        return key

    async def resolve_orbit(self, request: ResolveOrbitKeysV1, _: None) -> NodeKeysResolvedV1:
        self.orbit_resolves.append(request)
        if self.down:
            raise Unavailable("stand-in is down")
        found = tuple(self.orbits[text] for text in request.key_hashes if text in self.orbits)
        return NodeKeysResolvedV1(hosts=found, revision=self.revision)

    async def enroll_orbit(self, request: EnrollOrbitV1, _: None) -> OrbitEnrolledV1:
        self.orbit_enrolls.append(request)
        if self.down:
            raise Unavailable("stand-in is down")
        if request.enroll_secret.get_secret_value() != SECRET:
            raise BadEnrollSecret
        key = self.add_orbit(2000 + len(self.orbit_enrolls))
        return OrbitEnrolledV1(orbit_node_key=SecretStr(key), host=self.orbits[hash_node_key(key).hex()])

    async def set_token(self, request: SetDeviceTokenV1, _: None) -> DeviceTokenKeptV1:
        self.set_tokens.append(request)
        if self.down:
            raise Unavailable("stand-in is down")
        if request.orbit_key_hash not in self.orbits:
            raise OrbitKeyRetired
        known = self.tokens.get(request.token_hash)
        if known is not None and known.host_id != request.host_id:
            raise DeviceTokenInUse
        token = known or DeviceToken(**request.model_dump(), set_at=datetime.now(UTC), revision=self.next_revision())
        self.tokens[request.token_hash] = token
        return DeviceTokenKeptV1(token=token)

    async def refetch(self, request: RefetchHostV1, _: None) -> HostsAffectedV1:
        self.refetches.append(request.host_id)
        return HostsAffectedV1(count=any(record.host_id == request.host_id for record in self.orbits.values()))

    async def change(self, key: str, **changes: object) -> HostRecord:
        """Change a host's record, without telling."""
        record = self.records[hash_node_key(key).hex()]
        changed = record.model_copy(update={**changes, "revision": self.next_revision()})
        self.records[hash_node_key(key).hex()] = changed
        return changed

    async def delete(self, key: str) -> None:
        """Delete a host and tell."""
        record = self.records.pop(hash_node_key(key).hex())
        gone = record.model_copy(update={"revision": self.next_revision()})
        await self.tell(HostDeletedV1(host=gone))

    async def tell(self, event: Event) -> None:
        await self.bus.publish(event)

    async def resolve(self, request: ResolveNodeKeysV1, _: None) -> NodeKeysResolvedV1:
        self.resolves.append(request)
        if self.down:
            raise Unavailable("stand-in is down")
        found = tuple(self.records[text] for text in request.key_hashes if text in self.records)
        revision = self.revision
        if self.hold is not None:
            await self.hold.wait()
        return NodeKeysResolvedV1(hosts=found, revision=revision)

    async def enroll(self, request: EnrollHostV1, _: None) -> EnrolledV1:
        self.enrolls.append(request)
        if self.down:
            raise Unavailable("stand-in is down")
        if request.enroll_secret.get_secret_value() != SECRET:
            raise BadEnrollSecret
        if self.refusal is not None:
            raise self.refusal
        if self.hold is not None:
            await self.hold.wait()
        key = self.add_host(1000 + len(self.enrolls))
        return EnrolledV1(node_key=SecretStr(key), host=self.records[hash_node_key(key).hex()])


@dataclass
class StandInMerger:
    """Answers for config-merger and writes bucket PLANS."""

    bus: Bus
    bucket: Bucket
    body: bytes = b'{"options":{"distributed_interval":10}}'
    renders: list[RenderPlanV1] = field(default_factory=list)
    orbit: bytes = ORBIT_PLAN
    revision: int = 0
    down: bool = False

    async def render(self, request: RenderPlanV1, _: None) -> PlanHead:
        self.renders.append(request)
        if self.down:
            raise Unavailable("stand-in is down")
        return await self.save(request, self.body)

    async def save(self, request: RenderPlanV1, body: bytes, **members: object) -> PlanHead:
        """Put a plan into the bucket: bytes first, then the head."""
        self.revision += 1
        sha256, orbit_sha256 = hashlib.sha256(body).hexdigest(), hashlib.sha256(self.orbit).hexdigest()
        head = PlanHead(
            class_key=class_key(request.team_id, request.platform, request.scope_labels),
            team_id=request.team_id,
            platform=request.platform,
            scope_labels=request.scope_labels,
            revision=self.revision,
            config_sha256=sha256,
            orbit_sha256=orbit_sha256,
            etag=sha256[:16],
            compiled_at=datetime.now(UTC),
            **members,  # type: ignore[arg-type]
        )
        await self.bucket.put(config_key(sha256), body)
        await self.bucket.put(orbit_key(orbit_sha256), self.orbit)
        await self.bucket.put(head_key(head.class_key), head.model_dump_json().encode())
        return head


@dataclass
class StandInLiveQuery:
    """Writes bucket CAMPAIGNS and begins carves for live-query."""

    bucket: Bucket
    objects: Objects
    key: Ed25519PrivateKey
    begins: list[BeginCarveV1] = field(default_factory=list)
    refusal: FleetError | None = None
    hold: asyncio.Event | None = None

    async def begin(self, request: BeginCarveV1, _: None) -> CarveBegunV1:
        self.begins.append(request)
        if self.hold is not None:
            await self.hold.wait()
        if self.refusal is not None:
            raise self.refusal
        session = CarveSession(
            carve_id=len(self.begins),
            host_id=request.host_id,
            request_digest=request_digest(request.request_id),
            block_count=request.block_count,
            block_size=request.block_size,
            expires_at=int(time.time()) + 3600,
        )
        return CarveBegunV1(session_id=SecretStr(self.sign(session)))

    def sign(self, session: CarveSession, key: Ed25519PrivateKey | None = None, domain: bytes = SESSION_DOMAIN) -> str:
        payload = msgspec.json.encode(session)
        return encode_session((key or self.key).sign(domain + payload), payload)

    async def start(
        self,
        campaign_id: int,
        host_ids: list[int],
        *,
        seconds: float = 600.0,
        allowed_teams: list[int] | None = None,
        key: Ed25519PrivateKey | None = None,
        under: int | None = None,
        large: bool = False,
        ramped: bool = False,
    ) -> None:
        """Sign a command and put it into the bucket, under its own key unless `under` says another.

        `large` puts the targets into the object store.
        """
        now = time.time()
        command = CampaignCommand(
            campaign_id,
            f"SELECT {campaign_id};",
            now,
            now + seconds,
            f"{campaign_id:032x}",
            b"" if large else BitMap(host_ids).serialize(),
            allowed_teams,
            await self.objects.put(BitMap(host_ids).serialize()) if large else "",
            f"{campaign_id:016x}",
            ramped,
        )
        payload = msgspec.json.encode(command)
        value = encode_command((key or self.key).sign(payload), payload)
        await self.bucket.put(command_key(campaign_id if under is None else under), value)

    async def turn(self, *, halted: bool, at: float | None = None, key: Ed25519PrivateKey | None = None) -> None:
        """Halt all campaigns, or let them go on."""
        payload = msgspec.json.encode(Switch(halted=halted, at=time.time() if at is None else at))
        await self.bucket.put(SWITCH_KEY, encode_command((key or self.key).sign(payload), payload))

    async def release(
        self, campaign_id: int, host_ids: list[int], *, under: int | None = None, key: Ed25519PrivateKey | None = None
    ) -> None:
        """Say whom a ramped campaign may ask by now."""
        payload = msgspec.json.encode(Released(campaign_id, BitMap(host_ids).serialize()))
        value = encode_command((key or self.key).sign(payload), payload)
        await self.bucket.put(released_key(campaign_id if under is None else under), value)

    async def settle(self, campaign_id: int, host_ids: list[int]) -> None:
        await self.bucket.put(done_key(campaign_id), BitMap(host_ids).serialize())

    async def end(self, campaign_id: int) -> None:
        await self.bucket.delete(command_key(campaign_id))
