"""What each class of hosts gets.

Owns     schema config_merger; KV PLANS
Reads    schema admin_api: app_config, teams, queries, query_labels, labels;
         schema inventory: which classes have hosts
Answers  RenderPlanV1
Listens  DEFINITIONS: agent_options_changed, app_config_changed, label_changed, query_changed, team_changed
"""
