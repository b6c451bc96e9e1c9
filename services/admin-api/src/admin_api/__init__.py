"""The door for people: the REST API that the field already scripts against, and WebSockets.

Owns     schema admin_api; stream DEFINITIONS (through its outbox); Redis login:*
Reads    schema inventory (hosts, label membership, uses of secrets), schema live_query (ledgers, segments, carves),
         schema log_shipper (query reports, host losses), Redis campaign:*, blobs carves/*, campaigns/*
Asks     inventory TransferHostsV1, DeleteHostsV1, RefetchHostV1, ChangeLabelMembersV1;
         live-query StartCampaignV1, StopCampaignV1, PauseCampaignV1; analytics ReportNowV1
Sends    definitions.*_changed.v1; campaigns.viewed.v1 (core)
Listens  HOSTS (enrolled, enroll_refused, identity_shared: activities that tell people),
         OVERRUNS (live queries above their budget)
"""
