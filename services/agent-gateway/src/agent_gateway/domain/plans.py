"""The config of a class of hosts, and the newest head of each class, followed from the bucket.

A new head costs nothing until a host of its class asks: the first one waits for the bytes, all others with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from flotilla_common.contracts.plans import PlanHead, RenderPlanV1, config_key
from flotilla_common.errors import Unavailable

from agent_gateway.domain.class_bytes import ClassBytes, Fetch, fetched
from agent_gateway.domain.counters import Counters
from agent_gateway.domain.hosts import Host

CONFIG_LIMIT = 4 * 1024 * 1024 - 65_536  # bytes; osquery 5.x unschedules everything when it gets 4 MiB or more

ACCELERATED_SECONDS = 5.0
"""How often an accelerated osqueryd polls, also one that would poll more often by itself (observed, 5.23)."""


class _Options(msgspec.Struct):
    distributed_interval: Any = None


class _Config(msgspec.Struct):
    options: _Options | None = None


_config_decoder = msgspec.json.Decoder(_Config)

Render = Callable[[RenderPlanV1], Awaitable[PlanHead]]


@dataclass(frozen=True)
class Plan:
    """A class's config, ready to be sent: plain, and with the `etag` member for hosts that know it.

    `etag` is None where etags are switched off: it equals none that a host may send, and the body has none either.
    """

    head: PlanHead
    body: bytes
    etag: str | None
    body_with_etag: bytes
    interval_seconds: float | None = None
    """`distributed_interval` as the config sets it; None where it does not."""


class Plans:
    """Class key -> plan. `render` asks config-merger, `fetch` reads a key of bucket PLANS."""

    def __init__(self, render: Render, fetch: Fetch, counters: Counters, *, uses_etag: bool = True) -> None:
        self._uses_etag = uses_etag
        self._render = render
        self._fetch = fetch
        self._counters = counters
        self._heads: dict[str, PlanHead] = {}
        self._bytes = ClassBytes(self._load)

    def __len__(self) -> int:
        return len(self._bytes.ready)

    def take_head(self, head: PlanHead) -> None:
        """Take a head from the bucket or from config-merger's answer, unless a newer one is here."""
        known = self._heads.get(head.class_key)
        if known is None or head.revision > known.revision:
            self._heads[head.class_key] = head

    def drop(self, class_key: str) -> None:
        """Forget a class whose head was deleted: its next host has it rendered anew."""
        self._heads.pop(class_key, None)
        self._bytes.drop(class_key)

    def doubt_everything(self) -> None:
        """Forget all heads: the bucket was made anew, its revisions may begin again."""
        self._heads.clear()

    def head_of(self, class_key: str) -> PlanHead | None:
        """Return the newest head of a class, None when none is known."""
        return self._heads.get(class_key)

    def find(self, class_key: str) -> Plan | None:
        """Return the newest plan if its bytes are here."""
        plan = self._bytes.ready.get(class_key)
        return plan if plan is not None and plan.head is self._heads.get(class_key) else None

    async def newest_head(self, host: Host) -> PlanHead:
        """Return the newest head of the host's class, which is made if there is none.

        Raises:
            Unavailable: there is none yet, and it cannot be made now.

        """
        return self._heads.get(host.class_key) or await self._rendered(host)

    def polls_quickly(self, class_key: str) -> bool:
        """Whether hosts of this class poll so often already that accelerating would slow them down."""
        plan = self._bytes.ready.get(class_key)
        return plan is not None and plan.interval_seconds is not None and plan.interval_seconds <= ACCELERATED_SECONDS

    async def plan_of(self, host: Host) -> Plan:
        """Return the newest plan of the host's class, or the one before while the newest cannot be had.

        Raises:
            Unavailable: there is none yet, and it cannot be made now.

        """
        return self.find(host.class_key) or await self._bytes.load(host)

    async def _load(self, host: Host) -> Plan:
        head = await self.newest_head(host)
        self._counters.backend_operations["get_config"] += 1
        body = await fetched(self._fetch, config_key(head.config_sha256), head.config_sha256)
        if len(body) > CONFIG_LIMIT:
            raise Unavailable(f"the config has {len(body)} bytes: osqueryd would drop its schedule")
        if self._uses_etag:
            return Plan(head, body, head.etag, with_etag(body, head.etag), interval_of(body))
        return Plan(head, body, None, body, interval_of(body))

    async def _rendered(self, host: Host) -> PlanHead:
        self._counters.backend_operations["render_plan"] += 1
        request = RenderPlanV1(team_id=host.team_id or None, platform=host.platform, scope_labels=host.scope_labels)
        head = await self._render(request)
        if head.class_key != host.class_key:
            raise Unavailable("config-merger answered for another class")
        self.take_head(head)
        return self._heads[host.class_key]

    async def close(self) -> None:
        """Cancel what is on its way."""
        await self._bytes.close()


def interval_of(body: bytes) -> float | None:
    """Return the `distributed_interval` of a config, in seconds; people write it as a number or a text."""
    try:
        options = _config_decoder.decode(body).options
        return None if options is None else float(options.distributed_interval)
    except (msgspec.DecodeError, TypeError, ValueError):
        return None


def with_etag(body: bytes, etag: str) -> bytes:
    """Return a config object with the member `etag` put last."""
    members = body.rstrip()[:-1].rstrip()
    comma = b"" if members.endswith(b"{") else b","
    return members + comma + b'"etag":' + msgspec.json.encode(etag) + b"}"
