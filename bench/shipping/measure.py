"""Measure the parts of log-shipper that are asked for, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from bench.house import House
from bench.load_client import SERVER_CORE, LoadFailed, core
from bench.parts import rows_of
from bench.rows import Row
from bench.shipping import outage, pending, pipeline, reports, s3
from bench.shipping.place import ShippingPlace, beside, start

ON_ONE_CORE: dict[str, Callable[[ShippingPlace], Iterator[Row]]] = {
    "s3": s3.rows,
    "reports": reports.rows,
}
ON_BOTH: dict[str, Callable[[ShippingPlace], Iterator[Row]]] = {
    "pipeline": pipeline.rows,
    "pending": pending.rows,
    "outage": outage.rows,
}
PARTS = ON_ONE_CORE | ON_BOTH


def measure(parts: Collection[str], directory: Path) -> Iterator[Row]:
    """Yield the rows of these parts."""
    try:
        on_server = core(SERVER_CORE)
    except LoadFailed as error:
        yield Row("log-shipper: all of it", None, "", None, str(error))
        return
    if chosen := [part for part in ON_ONE_CORE if part in parts]:
        with beside(), House(directory / "one", known_hosts=1) as house:
            yield from rows_of("log-shipper", chosen, ON_ONE_CORE, start(house, on_server))
    for part in [part for part in ON_BOTH if part in parts]:
        with House(directory / part, known_hosts=pipeline.HOSTS) as house:
            yield from rows_of("log-shipper", [part], ON_BOTH, start(house))
