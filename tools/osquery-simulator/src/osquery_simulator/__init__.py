"""Pretended osquery hosts that speak as osqueryd does and really execute SQL.

Owns     nothing of the system: it knocks at the hosts' door like any osqueryd
Speaks   enroll, config, distributed/read, distributed/write and log of osquery's remote API, over HTTPS
"""

from osquery_simulator.host import Host
from osquery_simulator.settings import SimulatorSettings
from osquery_simulator.simulator import Simulator

__all__ = ["Host", "Simulator", "SimulatorSettings"]
