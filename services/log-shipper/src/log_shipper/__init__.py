"""Result and status logs to destinations, and the latest results of queries into reports.

Owns     schema log_shipper; purges stream LOGS; blobs below `logs/`; picks from stream DEAD
Reads    stream LOGS; schema inventory (platforms, teams, labels of hosts); schema admin_api (queries with reports)
Asks     nobody
Answers  LogLedgerV1; requests about destinations, dead letters and replays
Listens  LOGS (from each destination's own cursor, those of query reports and of hosts' losses),
         DEFINITIONS and HOSTS (whose results do not count any more)
Sends    stream DEAD (lines that a destination refuses for good, messages without a manifest)
"""
