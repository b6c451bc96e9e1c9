"""Result and status logs to destinations.

Owns     schema log_shipper; purges stream LOGS
Reads    stream LOGS
Asks     nobody
Answers  LogLedgerV1
Listens  LOGS (from each destination's own cursor; headers for what was received; status lines for hosts' losses)
Sends    stream DEAD (lines that a destination refuses for good, messages without a manifest)
"""
