"""The door for hosts.

Owns     streams LOGS, ANSWERS, RESULTS, CARVES
Reads    KV PLANS, DETAILS, CAMPAIGNS; object store TARGETS
Sends    HostsSeenV1, CampaignOfferedV1
Asks     inventory EnrollHostV1, EnrollOrbitV1, ResolveNodeKeysV1, ResolveOrbitKeysV1, SetDeviceTokenV1,
         RefetchHostV1; config-merger RenderPlanV1; live-query BeginCarveV1
Listens  HOSTS (who may come in), DEVICE_TOKENS (which desktops may)
"""
