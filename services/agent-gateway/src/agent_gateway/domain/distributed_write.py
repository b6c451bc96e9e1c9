"""Answer `distributed/write`."""

from __future__ import annotations

from agent_gateway.domain.answers import answer_of
from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.hosts import Host
from agent_gateway.domain.results import WriteRequest, campaign_of, kind_of, parse_write, result_of

TAKEN = b"{}"


async def answer_write(gateway: Gateway, body: bytes, header_key: str | None) -> bytes:
    """Take results; `{}` is said once the answers to campaigns are in custody.

    Answers to campaigns that the host was not asked by get the same `{}`: the host has nothing to repeat, and a liar
    learns nothing. Results of detail, label and policy queries are counted; nothing asks for them yet.
    """
    request = await gateway.large.run(len(body), lambda: parse_write(body))
    gateway.check_bus()
    host = await gateway.host_of(request.node_key, header_key)
    accepted = accepted_names(gateway, host, request)
    if accepted:
        answers = await gateway.large.run(
            len(body), lambda: [answer_of(*ids, result_of(request, name)) for name, ids in accepted.items()]
        )
        trace_parent = gateway.campaigns.trace_parent(answers[0].campaign_id)  # a message can be in one trace only
        await gateway.answers.hand_over(host, answers, int(gateway.now() * 1000), trace_parent)
        for answer in answers:
            gateway.campaigns.answered(answer.campaign_id, host.host_id)
    return TAKEN


def accepted_names(gateway: Gateway, host: Host, request: WriteRequest) -> dict[str, tuple[int, int]]:
    """Return query name -> campaign and attempt, where the host is a target; count all others."""
    counters = gateway.counters
    accepted: dict[str, tuple[int, int]] = {}
    for name in request.queries or {}:
        kind = kind_of(name)
        if kind != "campaign":
            counters.results[kind] += 1
            continue
        ids = campaign_of(name)
        verdict = "unknown" if ids is None else gateway.campaigns.verdict(ids[0], host.host_id, gateway.now())
        counters.answers[verdict] += 1
        if ids is not None and verdict in ("open", "ended"):
            accepted[name] = ids
    return accepted
