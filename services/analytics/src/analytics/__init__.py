"""Usage statistics: a reporter inside an installation, and a collector that receives reports from installations.

Owns     schema analytics
Reads    schemas inventory, admin_api, live_query (counts only)
Asks     the configured collector, over HTTP; nobody when its URL is empty
Answers  ReportNowV1
Listens  nothing
"""
