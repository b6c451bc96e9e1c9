"""Who the hosts are.

Owns     schema inventory (hosts, device tokens, last seen, label membership, scope, use of enroll secrets, shared
         identities); streams HOSTS, DEVICE_TOKENS
Reads    schema admin_api: enroll_secrets, teams, labels, queries, query_labels, app_config (labels of extensions);
         KV PLANS (how often hosts poll)
Answers  EnrollHostV1, EnrollOrbitV1, ResolveNodeKeysV1, ResolveOrbitKeysV1, SetDeviceTokenV1, TransferHostsV1,
         DeleteHostsV1, RefetchHostV1, ChangeLabelMembersV1
Sends    HostEnrolledV1, HostChangedV1, HostDeletedV1, ScopeChangedV1, EnrollRefusedV1, HostIdentitySharedV1,
         DeviceTokenSetV1 (all through the outbox)
Listens  DEFINITIONS: agent_options_changed, team_changed, query_changed, label_changed; core NATS: hosts.seen.v1
"""
