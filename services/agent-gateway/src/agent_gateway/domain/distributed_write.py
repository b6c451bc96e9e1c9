"""Answer `distributed/write`."""

from __future__ import annotations

import msgspec
from flotilla_common.contracts.campaigns import CampaignAnswer
from flotilla_common.contracts.results import ResultKind

from agent_gateway.domain.answers import answer_of
from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.hosts import Host
from agent_gateway.domain.posts import TAKEN, Begun, Custody, Told, nothing_to_note
from agent_gateway.domain.query_results import ByKind, query_result
from agent_gateway.domain.results import (
    NAME_LIMIT,
    WriteRequest,
    campaign_of,
    kind_of,
    parse_plain_write,
    parse_usual_write,
    parse_write,
    result_of,
)


class Wanted(msgspec.Struct, frozen=True):
    """What of a write somebody waits for. `answers`: query name -> campaign, attempt and when that was offered (ms)."""

    answers: dict[str, tuple[int, int, int]] = {}
    results: dict[ResultKind, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self.answers or self.results)


async def answer_write(gateway: Gateway, body: bytes, header_key: str | None) -> bytes:
    """Take results; `{}` is said once all that somebody waits for is in custody.

    What the host was not asked gets the same `{}`: the host has nothing to repeat, and a liar learns nothing.
    """
    request = await gateway.read("write", body, header_key, lambda: parse_plain_write(body), lambda: parse_write(body))
    gateway.check_bus()
    host = await gateway.host_of(request.node_key, header_key)
    gateway.admission.take_bytes("write", host.host_id, len(body))
    wanted = wanted_of(gateway, host, request)
    if wanted:
        answers, results = await gateway.large.run(len(body), lambda: _read(request, wanted))
        host = await gateway.host_of(request.node_key, header_key)  # its key may have been revoked meanwhile
        custody = Custody()
        pieces, note = _hand_over(gateway, host, answers, results, custody.told)
        await custody.of(pieces)
        note()
    return TAKEN


def begin_write(gateway: Gateway, body: bytes, header_key: str | None, told: Told) -> Begun | None:
    """Hand over what a known host posts. None: go the whole way; nothing has been done.

    Raises:
        Malformed: rows that somebody waits for are none.

    """
    request = parse_usual_write(body)
    host = None if request is None else gateway.known_host(request.node_key, header_key)
    if request is None or host is None:
        return None
    gateway.admission.take_bytes("write", host.host_id, len(body))
    gateway.seen.add(host.host_id)
    wanted = wanted_of(gateway, host, request)
    return _hand_over(gateway, host, *_read(request, wanted), told) if wanted else (0, nothing_to_note)


def wanted_of(gateway: Gateway, host: Host, request: WriteRequest) -> Wanted:
    """Return what is to be passed on: answers to campaigns that target the host, results of sets that it is asked.

    All else is counted.
    """
    counters = gateway.counters
    wanted = Wanted()
    asked: dict[ResultKind, bool] = {}
    for name in request.queries:
        kind = kind_of(name)
        if kind == "campaign":
            ids = campaign_of(name)
            verdict = "unknown" if ids is None else gateway.campaigns.verdict(ids[0], host.host_id, gateway.now())
            counters.answers[verdict] += 1
            if ids is not None and verdict in ("open", "ended"):
                wanted.answers[name] = (*ids, gateway.campaigns.offered_ms(ids[0], host.host_id, ids[1]))
            continue
        if kind != "other" and kind not in asked:
            asked[kind] = gateway.query_sets.has(kind, host)
        if kind != "other" and asked[kind] and len(name) <= NAME_LIMIT:
            wanted.results.setdefault(kind, []).append(name)
        else:
            counters.results_unasked[kind] += 1
    return wanted


def _read(request: WriteRequest, wanted: Wanted) -> tuple[list[CampaignAnswer], ByKind]:
    answers = [answer_of(*asked, result_of(request, name)) for name, asked in wanted.answers.items()]
    results: ByKind = {
        kind: [query_result(result_of(request, name)) for name in names] for kind, names in wanted.results.items()
    }
    return answers, results


def _hand_over(gateway: Gateway, host: Host, answers: list[CampaignAnswer], results: ByKind, told: Told) -> Begun:
    received_ms = int(gateway.now() * 1000)
    pieces = gateway.query_results.hand_over(host, results, received_ms, told) if results else 0
    for answer in answers:  # each in a batch of its own: a batch is in one trace
        trace_parent = gateway.campaigns.trace_parent(answer.campaign_id)
        gateway.answers.hand_over(host, answer, received_ms, told, trace_parent or "")

    def note() -> None:
        gateway.query_results.stored(results)
        for answer in answers:
            gateway.campaigns.answered(answer.campaign_id, host.host_id)

    return pieces + len(answers), note
