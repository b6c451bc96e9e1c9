"""A destination as a worker uses it."""

from __future__ import annotations

from dataclasses import dataclass, field

from flotilla_common.contracts.log_destinations import Backlog, Destination, LogFilter, Rate, Retry

from log_shipper.domain.nowhere import NowhereSink
from log_shipper.domain.selecting import Selection
from log_shipper.sinks import Limits, Sink


@dataclass(frozen=True)
class Running:
    """A sink with what people said of its destination. `until`: the last sequence that is for it."""

    name: str
    sink: Sink
    limits: Limits
    selection: Selection = field(default_factory=lambda: Selection(LogFilter()))
    rate: Rate = field(default_factory=Rate)
    retry: Retry = field(default_factory=Retry)
    until: int | None = None
    backlog: Backlog = field(default_factory=Backlog)


def running(spec: Destination, sink: Sink) -> Running:
    """Join a sink with its destination; no limit of the sink is raised, but the size of a batch as far as it allows."""
    own, wanted = sink.limits, spec.batch
    limits = Limits(
        batch_bytes=min(own.most_bytes or own.batch_bytes, wanted.bytes or own.batch_bytes),
        batch_lines=min(own.batch_lines, wanted.lines or own.batch_lines),
        batch_seconds=own.batch_seconds if wanted.seconds is None else wanted.seconds,
        line_bytes=own.line_bytes,
    )
    return Running(spec.name, sink, limits, Selection(spec.filter), spec.rate, spec.retry, backlog=spec.backlog)


def finishing(name: str, until: int) -> Running:
    """Return what closes the books of a destination that was taken away: all that it lacks is filtered."""
    sink = NowhereSink()
    return Running(name, sink, sink.limits, Selection.of_nothing(), until=until)
