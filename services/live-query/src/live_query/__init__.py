"""Campaigns: live queries that wait, add up and never get lost; and the carves that they ask for.

Owns     schema live_query; stream OVERRUNS (through its outbox); KV CAMPAIGNS; object store TARGETS;
         Redis campaign:*; blobs carves/*, campaigns/*
Reads    schema inventory (hosts, host_seen, label_membership); schema admin_api (labels)
Sends    overruns.campaign_over_budget.v1; gateways follow KV CAMPAIGNS, viewers the Redis streams
Answers  StartCampaignV1, StopCampaignV1, PauseCampaignV1, BeginCarveV1
Listens  ANSWERS (what hosts say), CARVES (what they send), HOSTS (deleted hosts),
         campaigns.viewed.v1 (who is watching), campaigns.offered.v1 (who took a query and is silent)
"""
