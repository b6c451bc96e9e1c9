"""Metrics. Lines are gauges read from the ledger at intervals, not counters of this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict

import structlog
from flotilla_common.bus import outage
from flotilla_common.cancellation import heed
from flotilla_common.clock import utc_now
from flotilla_common.contracts.log_ledger import HostLosses
from prometheus_client import Counter, Gauge

from log_shipper.deps import Deps
from log_shipper.domain.host_losses import KINDS
from log_shipper.domain.ledger import Ledger, read_ledger
from log_shipper.domain.report_keeping import Tally
from log_shipper.store import host_losses, replays, segments
from log_shipper.store.stream import OUTAGES

log = structlog.get_logger()

LINES = Gauge(
    "flotilla_log_lines",
    "Lines per destination, log type and state; received = filtered + delivered + dead_lettered + pending",
    ["destination", "log_type", "state"],
)
UNBALANCED = Gauge("flotilla_log_ledger_difference_lines", "received - all other states", ["destination", "log_type"])
OLDEST = Gauge(
    "flotilla_log_oldest_pending_seconds", "Age of the oldest line that a destination lacks", ["destination"]
)
CURSOR = Gauge("flotilla_log_cursor_sequence", "Last stream sequence settled for a destination", ["destination"])
STREAM = Gauge("flotilla_log_stream_last_sequence", "Last sequence of stream LOGS")
FAILING = Gauge("flotilla_log_destination_failing", "1 while deliveries fail", ["destination"])
BATCHES = Counter("flotilla_log_batches", "Batches settled by this process", ["destination"])
FAILURES = Counter("flotilla_log_delivery_failures", "Deliveries of this process that failed", ["destination"])
SPILLED = Counter("flotilla_log_spilled_bytes", "Bytes of the stream that this process put in the blob store")
STORED = Gauge("flotilla_log_stored_bytes", "Bytes of the stream that are in the blob store, as messages")
REPLAYS = Gauge("flotilla_log_replays_running", "Replays of destinations that have not ended")
HOST_LOST = Gauge("flotilla_log_host_lost_lines", "Lines that hosts say they threw away, a lower bound", ["kind"])
HOSTS_LOSING = Gauge("flotilla_log_hosts_with_losses", "Hosts that said so, ever", ["kind"])
JANITOR_FAILURES = Counter("flotilla_log_janitor_failures", "Failures of this process to store parts, or to purge them")
CONFIG_BROKEN = Gauge("flotilla_log_destinations_config_broken", "1 while declared destinations are not followed")
REPORT_CURSOR = Gauge("flotilla_log_reports_cursor_sequence", "Last stream sequence that is in query reports")
REPORT_FAILURES = Counter("flotilla_log_report_failures", "Failures of this process to keep query reports")
REPORTS = Counter(
    "flotilla_log_reports",
    "What became of result lines in this process: lines that were skipped (other, invalid), snapshots that do not count"
    " (void, late), reports that changed or did not (changed, unchanged)",
    ["outcome"],
)

EVERY_SECONDS = 10.0
DUTY = 20  # a long walk is repeated more rarely: at most 1/20 of the time goes into it


async def publish(deps: Deps) -> None:
    """Refresh the gauges for ever."""
    while True:
        started = time.monotonic()
        try:
            show(await read_ledger(deps.sessions, deps.bus))
            async with deps.sessions.begin() as session:
                show_losses(await host_losses.totals(session))
                STORED.set(await segments.stored_bytes(session))
                REPLAYS.set(await replays.running(session))
        except (*outage.kinds(), *OUTAGES) as error:
            log.warning("ledger cannot be read", error=repr(error))
        heed()
        await asyncio.sleep(max(EVERY_SECONDS, (time.monotonic() - started) * DUTY))


def count_reports(tally: Tally) -> None:
    """Count what became of a batch of lines."""
    for outcome, number in asdict(tally).items():
        REPORTS.labels(outcome).inc(number)


def show(ledger: Ledger) -> None:
    """Set the gauges; those of destinations that are gone end, or alerts about them would never end."""
    for gauge in (CURSOR, OLDEST, FAILING):
        _end(gauge, ledger.cursors)
    for gauge in (LINES, UNBALANCED):
        _end(gauge, {entry.destination for entry in ledger.entries})
    STREAM.set(ledger.stream_sequence)
    for name, cursor in ledger.cursors.items():
        CURSOR.labels(name).set(cursor)
        oldest = ledger.oldest_pending.get(name)
        OLDEST.labels(name).set((utc_now() - oldest).total_seconds() if oldest else 0)
    for entry in ledger.entries:
        states = entry.model_dump(exclude={"destination", "log_type", "hour"})
        for state, lines in states.items():
            LINES.labels(entry.destination, entry.log_type, state).set(lines)
        difference = entry.received - (entry.filtered + entry.delivered + entry.dead_lettered + entry.pending)
        UNBALANCED.labels(entry.destination, entry.log_type).set(difference)


def _end(gauge: Gauge, destinations: Collection[str]) -> None:
    """Forget what a gauge says of others than these."""
    samples = [sample for metric in gauge.collect() for sample in metric.samples]
    for sample in samples:
        if sample.labels["destination"] not in destinations:
            gauge.remove_by_labels(sample.labels)


def show_losses(totals: Mapping[str, HostLosses]) -> None:
    """Set the gauges of what hosts say that they lost, by kind."""
    for kind in KINDS:  # also those that nobody has lost yet: from nothing to something is a growth
        total = totals.get(kind, HostLosses())
        HOST_LOST.labels(kind).set(total.lines)
        HOSTS_LOSING.labels(kind).set(total.hosts)
