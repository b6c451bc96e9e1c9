"""Who the hosts are.

Owns     schema inventory (hosts, last seen, label membership, scope, use of enroll secrets, shared identities);
         stream HOSTS
Reads    schema admin_api: enroll_secrets, teams, labels, queries, query_labels; KV PLANS (how often hosts poll)
Answers  EnrollHostV1, ResolveNodeKeysV1, TransferHostsV1, DeleteHostsV1, RefetchHostV1, ChangeLabelMembersV1
Sends    HostEnrolledV1, HostChangedV1, HostDeletedV1, ScopeChangedV1, EnrollRefusedV1, HostIdentitySharedV1 (all
         through the outbox)
Listens  DEFINITIONS: team_changed, query_changed, label_changed; core NATS: hosts.seen.v1
"""
