"""For tests: a fake server, a clock that jumps, a fleet in a process of its own."""

from osquery_simulator.testing.fake_server import Asked, FakeServer, Reply
from osquery_simulator.testing.fleet_process import FleetProcess
from osquery_simulator.testing.virtual_clock import VirtualClock

__all__ = ["Asked", "FakeServer", "FleetProcess", "Reply", "VirtualClock"]
