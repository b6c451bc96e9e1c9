"""ResolveNodeKeysV1: look up which hosts these node keys belong to."""

from __future__ import annotations

from collections.abc import Sequence

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.hosts import NodeKeysResolvedV1, ResolveNodeKeysV1
from flotilla_common.errors import Invalid

from inventory.deps import Deps
from inventory.errors import TooManyKeys
from inventory.store import records

LIMIT = 1000


async def answer(request: ResolveNodeKeysV1, deps: Deps) -> NodeKeysResolvedV1:
    """Read only. The table is read on the primary: what is not found does not exist at this moment."""
    key_hashes = hashes_of(request.key_hashes)
    async with deps.sessions() as session:
        found, revision = await records.of_key_hashes(session, key_hashes)
    return NodeKeysResolvedV1(hosts=tuple(found), revision=revision)


def hashes_of(texts: Sequence[str]) -> list[bytes]:
    """Return the hashes of a request.

    Raises:
        TooManyKeys: more than 1,000.
        Invalid: one is not hexadecimal.

    """
    if len(texts) > LIMIT:
        raise TooManyKeys(f"{len(texts)} keys in one request, {LIMIT} at most")
    try:
        return [bytes.fromhex(text) for text in texts]
    except ValueError as error:
        raise Invalid("a key hash is not hexadecimal") from error


RESPONDER = Responder(ResolveNodeKeysV1, answer)
