"""The whole system, driven through its two doors: hosts at one, people at the other; nothing else is looked at.

What is shipped is read where a customer reads it: the files and the bucket that log-shipper delivers to.
All of it runs in one process of a parallel run (`flotilla_common.testing.plugin`): one stack is enough
for two cores.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from flotilla_stack.testing import RunningStack

from . import people
from .machines import Machines
from .shipped import Shipped
from .traces import Collector, collecting


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the patience that a whole system needs."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """A collector of traces."""
    with collecting() as running:
        yield running


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[RunningStack]:
    """A running system without simulated hosts, which sends its traces to the collector."""
    home = tmp_path_factory.mktemp("e2e") / "flotilla"
    environment = {"FLOTILLA_OTLP_ENDPOINT": collector.url, "FLOTILLA_ARCHIVE_AFTER_SECONDS": "2"}
    with RunningStack(home, "--without-simulator", environment=environment) as running:
        yield running


@pytest.fixture
async def admin(stack: RunningStack) -> AsyncIterator[people.Person]:
    """The admin whom the stack seeded."""
    dev = stack.dev()
    async with people.person(dev["url"], dev["ca_file"], dev["admin"]["token"]) as someone:
        yield someone


@pytest.fixture
def machines(stack: RunningStack, tmp_path: Path) -> Machines:
    """The makers of hosts."""
    dev = stack.dev()
    return Machines(dev["url"], dev["ca_file"], tmp_path)


@pytest.fixture
def shipped(stack: RunningStack) -> Shipped:
    """What has been delivered."""
    dev = stack.dev()
    return Shipped(Path(dev["log_directory"]), dev["s3"])
