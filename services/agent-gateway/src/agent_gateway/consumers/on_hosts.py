"""Stream HOSTS: who may come in, from now on.

Nothing old is replayed: a host that is not known is asked for. Repeats and late events are harmless, since a record
wins only by a higher revision.
"""

from __future__ import annotations

import structlog
from flotilla_common.bus.connection import Bus
from flotilla_common.bus.follow import Follower
from flotilla_common.contracts.hosts import HostChangedV1, HostDeletedV1, HostEnrolledV1, ScopeChangedV1
from nats.aio.msg import Msg
from pydantic import ValidationError

from agent_gateway.domain.hosts import HostCache

log = structlog.get_logger()

STREAM = "HOSTS"
EVENTS = (HostEnrolledV1, HostChangedV1, HostDeletedV1, ScopeChangedV1)


def hosts_follower(bus: Bus, *caches: HostCache) -> Follower:
    """Return the follower that keeps the caches true."""

    async def on_message(message: Msg) -> None:
        try:
            take(message.subject, message.data, *caches)
        except (ValidationError, ValueError) as error:
            # It may have been a revocation: nobody is believed without asking.
            log.warning("event of a host makes no sense", subject=message.subject, error=str(error))
            doubt_everything()

    async def on_gap() -> None:
        log.warning("events of hosts were missed, every host is resolved again", hosts=len(caches[0]))
        doubt_everything()

    def doubt_everything() -> None:
        for hosts in caches:
            hosts.doubt_everything()

    return Follower(bus, STREAM, [event.subject for event in EVENTS], on_message, start="new", on_gap=on_gap)


def take(subject: str, data: bytes, *caches: HostCache) -> None:
    """Apply one event."""
    if subject == HostEnrolledV1.subject:
        enrolled = HostEnrolledV1.model_validate_json(data)
        for hosts in caches:
            hosts.retire(enrolled.retired_key_hashes)
            hosts.put(enrolled.host)
    elif subject == HostChangedV1.subject:
        changed = HostChangedV1.model_validate_json(data)
        for hosts in caches:
            hosts.retire(changed.retired_key_hashes)
            hosts.put(changed.host)
    elif subject == HostDeletedV1.subject:
        deleted = HostDeletedV1.model_validate_json(data)
        for hosts in caches:
            hosts.delete(deleted.host)
    elif subject == ScopeChangedV1.subject:
        scope = ScopeChangedV1.model_validate_json(data)
        for hosts in caches:
            hosts.scope_changed(scope.revision)
