"""Answer `distributed/read`: nothing, 997 times of 1,000."""

from __future__ import annotations

import msgspec

from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.json_bodies import parse_usual

NOTHING = b'{"queries":{}}'
ACCELERATE_SECONDS = 10
ALWAYS = "SELECT 1"


class ReadRequest(msgspec.Struct):
    """Members beyond the key mean nothing here."""

    node_key: str | None = None


_decoder = msgspec.json.Decoder(ReadRequest)


def read_from_memory(gateway: Gateway, body: bytes, header_key: str | None) -> bytes | None:
    """Return the usual answer to a usual request of a known host. None: go the whole way; nothing has been done."""
    request = parse_usual(_decoder, body)
    host = None if request is None else gateway.known_host(request.node_key, header_key)
    if host is None or gateway.campaigns.has_open(host.host_id):
        return None
    gateway.seen.add(host.host_id)
    return NOTHING


async def answer_read(gateway: Gateway, body: bytes, header_key: str | None) -> bytes:
    """Return what the host is to run now."""
    request = await gateway.read_small(_decoder, body)
    host = await gateway.host_of(request.node_key, header_key)
    if not gateway.campaigns.has_open(host.host_id):
        return NOTHING
    gateway.check_bus()
    queries, soon = gateway.campaigns.offers(host, gateway.now())
    gateway.counters.queries_offered += len(queries)
    return encode_read(queries, accelerate=soon and not gateway.plans.polls_quickly(host.class_key))


def encode_read(queries: dict[str, str], *, accelerate: bool) -> bytes:
    """Return the answer with these queries.

    Before osquery 5.8.1 a query without a `discovery` entry did not run when any other had one, so each gets one.
    """
    if not queries and not accelerate:
        return NOTHING
    answer: dict[str, object] = {"queries": queries}
    if queries:
        answer["discovery"] = dict.fromkeys(queries, ALWAYS)
    if accelerate:
        answer["accelerate"] = ACCELERATE_SECONDS
    return msgspec.json.encode(answer)
