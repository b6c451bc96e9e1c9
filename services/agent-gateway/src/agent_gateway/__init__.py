"""The door for hosts.

Owns     streams LOGS, ANSWERS, RESULTS
Reads    KV PLANS, DETAILS, CAMPAIGNS; object store TARGETS
Sends    HostsSeenV1, CampaignOfferedV1
Asks     inventory EnrollHostV1, ResolveNodeKeysV1; config-merger RenderPlanV1
Listens  HOSTS (who may come in)
"""
