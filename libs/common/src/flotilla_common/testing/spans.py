"""Spans that the code under test has ended, in memory. A process has one provider of traces for good."""

from __future__ import annotations

from functools import cache

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Spans:
    """What has ended since the test began."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def named(self, begin: str) -> list[ReadableSpan]:
        """Return the spans whose names begin so, in the order of their ends."""
        return [span for span in self._exporter.get_finished_spans() if span.name.startswith(begin)]


def trace_of(span: ReadableSpan) -> str:
    """Return the trace id of a span in hexadecimal."""
    context = span.get_span_context()
    return "" if context is None else f"{context.trace_id:032x}"


@cache
def exporter() -> InMemorySpanExporter:
    """Return this process's exporter, made and plugged in at the first call."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    made = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(made))
    return made
