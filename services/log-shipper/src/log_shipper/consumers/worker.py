"""A destination's worker: one at a time among all replicas, under a lease, with a back-off of its own."""

from __future__ import annotations

from flotilla_common.cancellation import heed

from log_shipper.consumers.condition import Condition
from log_shipper.consumers.drain import Drain
from log_shipper.deps import Deps
from log_shipper.domain.running import Running
from log_shipper.store import leases


class Worker:
    """Works for one destination until it is cancelled, or until the books of one that was taken away are closed."""

    def __init__(self, destination: Running, deps: Deps) -> None:
        self._destination = destination
        self._deps = deps
        self._condition = Condition(destination, deps)

    async def rest(self, seconds: float) -> None:
        """Wait so long, at most, until no batch is being delivered."""
        await self._condition.rest(seconds)

    async def run(self) -> None:
        """Work. A destination that is down holds only its own cursor."""
        name = self._destination.name
        try:
            while True:
                try:
                    async with leases.hold(self._deps.engine, f"destination:{name}") as lease:
                        await Drain(self._condition, self._deps, lease).run()
                        return
                except Exception as error:  # noqa: BLE001 - the last resort: one destination must not stop the others
                    heed()
                    await self._condition.wait_after(error)
                finally:
                    self._condition.is_delivering(False)
        finally:
            await self._destination.sink.close()
