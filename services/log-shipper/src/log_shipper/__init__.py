"""Result and status logs to destinations.

Owns     schema log_shipper; purges stream LOGS; blobs below `logs/`; picks from stream DEAD
Reads    stream LOGS
Asks     nobody
Answers  LogLedgerV1; requests about destinations, dead letters and replays
Listens  LOGS (from each destination's own cursor)
Sends    stream DEAD (lines that a destination refuses for good, messages without a manifest)
"""
