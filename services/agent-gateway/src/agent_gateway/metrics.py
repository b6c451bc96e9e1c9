"""The gateway's counts as Prometheus metrics, made when Prometheus asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.request_classes import RequestClass

PREFIX = "flotilla_gateway_"
CAN_CLOSE: tuple[RequestClass, ...] = ("log", "write", "enroll", "carve")


class GatewayCollector(Collector):
    """Reads the plain integers of one gateway."""

    def __init__(self, gateway: Gateway, inside: Callable[[], int]) -> None:
        self._gateway = gateway
        self._inside = inside

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        counters = self._gateway.counters
        yield _counter("requests", "Requests by endpoint", "endpoint", counters.requests)
        yield _counter("failures", "Answers with error, by code", "code", counters.failures)
        yield _counter("backend_operations", "What was asked of others", "kind", counters.backend_operations)
        yield _counter("log_lines", "Lines taken into custody", "type", counters.lines)
        yield _counter("log_lines_skipped", "Lines that cannot be stored", "reason", counters.lines_skipped)
        yield _counter(
            "campaign_answers",
            "Answers to campaigns: open and ended are taken; late, foreign and unknown are not",
            "outcome",
            counters.answers,
        )
        yield _counter("results", "Detail, label and policy results taken", "kind", counters.results)
        yield _counter("results_unasked", "Results that no query asks for", "kind", counters.results_unasked)
        yield _counter("carve_blocks", "Blocks of carves", "outcome", counters.carve_blocks)
        yield CounterMetricFamily(
            PREFIX + "commands_refused", "Campaign commands not believed", counters.commands_refused
        )
        yield CounterMetricFamily(PREFIX + "queries_offered", "Campaign queries handed out", counters.queries_offered)
        yield CounterMetricFamily(PREFIX + "pauses", "Pauses in which requests gather", counters.pauses)
        yield CounterMetricFamily(PREFIX + "paused_seconds", "What they last, together", counters.paused_seconds)
        yield from self._gauges()
        yield from self._admission()

    def _gauges(self) -> Iterator[Metric]:
        gateway = self._gateway
        yield GaugeMetricFamily(PREFIX + "hosts_cached", "Hosts known to this process", len(gateway.hosts))
        yield GaugeMetricFamily(PREFIX + "orbits_cached", "Orbits known to this process", len(gateway.orbit.hosts))
        yield GaugeMetricFamily(PREFIX + "device_tokens", "Device tokens that may be good", len(gateway.orbit.tokens))
        yield GaugeMetricFamily(PREFIX + "plans_ready", "Plans whose bytes are here", len(gateway.plans))
        yield GaugeMetricFamily(PREFIX + "campaigns_open", "Campaigns that are open", len(gateway.campaigns))
        yield GaugeMetricFamily(
            PREFIX + "campaigns_halted", "1 while an administrator has stopped all", int(gateway.campaigns.are_halted)
        )
        yield GaugeMetricFamily(PREFIX + "body_bytes", "Bodies in memory, with their copies", gateway.memory.used)
        yield GaugeMetricFamily(PREFIX + "requests_inside", "Requests being handled", self._inside())
        yield GaugeMetricFamily(PREFIX + "bus_silence_seconds", "Since the bus was last heard", gateway.silence())

    def _admission(self) -> Iterator[Metric]:
        admission = self._gateway.admission
        refused = CounterMetricFamily(
            PREFIX + "refused", "Requests refused by admission control", labels=["class", "reason"]
        )
        for (request_class, reason), count in list(admission.refused.items()):
            refused.add_metric([request_class, reason], count)
        yield refused
        yield _counter("bodies_too_large", "Bodies above their cap", "class", admission.too_large)
        closed = {name: self._gateway.is_closed(name) for name in CAN_CLOSE}
        yield _gauge("class_closed", "1 while requests of a class are refused", "class", closed)
        fullness = {gate.stream: gate.fullness for gate in admission.gates}
        yield _gauge("stream_fullness", "Bytes in a stream, as a share of its limit", "stream", fullness)
        yield GaugeMetricFamily(
            PREFIX + "enrolls_waiting", "Enrolls that wait for their turn", self._gateway.enrollments.waiting
        )


def _gauge(name: str, text: str, label: str, values: Mapping[Any, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _counter(name: str, text: str, label: str, values: Mapping[Any, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(PREFIX + name, text, labels=[label])
    for key, value in list(values.items()):
        family.add_metric([key], value)
    return family
