"""Measure the parts of log-shipper that are asked for, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from bench.house import House
from bench.load_client import SERVER_CORE, LoadFailed, core
from bench.parts import rows_of
from bench.rows import Row
from bench.shipping import reports, s3
from bench.shipping.place import ShippingPlace, beside, start

PARTS: dict[str, Callable[[ShippingPlace], Iterator[Row]]] = {"s3": s3.rows, "reports": reports.rows}


def measure(parts: Collection[str], directory: Path) -> Iterator[Row]:
    """Yield the rows of these parts."""
    try:
        on_server = core(SERVER_CORE)
    except LoadFailed as error:
        yield Row("log-shipper: all of it", None, "", None, str(error))
        return
    with beside(), House(directory, known_hosts=1) as house:
        yield from rows_of("log-shipper", [part for part in PARTS if part in parts], PARTS, start(house, on_server))
