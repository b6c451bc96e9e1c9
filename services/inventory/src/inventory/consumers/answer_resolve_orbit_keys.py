"""ResolveOrbitKeysV1: look up which hosts these orbit keys belong to."""

from __future__ import annotations

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.hosts import NodeKeysResolvedV1, ResolveOrbitKeysV1

from inventory.consumers.answer_resolve_node_keys import hashes_of
from inventory.deps import Deps
from inventory.store import records


async def answer(request: ResolveOrbitKeysV1, deps: Deps) -> NodeKeysResolvedV1:
    """Read only, on the primary: what is not found does not exist at this moment."""
    key_hashes = hashes_of(request.key_hashes)
    async with deps.sessions() as session:
        found, revision = await records.of_orbit_key_hashes(session, key_hashes)
    return NodeKeysResolvedV1(hosts=tuple(found), revision=revision)


RESPONDER = Responder(ResolveOrbitKeysV1, answer)
