"""osquery's options and flags by JSON type.

Source: the flags of osquery 5.16 and the rules of Fleet 4.70 for agent options.

`uint` is a number that is not negative.
"""

from __future__ import annotations

_OPTIONS = {
    "bool": """
audit_allow_config audit_allow_fim_events audit_allow_process_events audit_allow_sockets audit_allow_user_events
aws_debug aws_disable_imdsv1_fallback aws_enable_proxy aws_kinesis_disable_log_status
aws_kinesis_random_partition_key decorations_top_level disable_audit disable_caching disable_database
disable_decorators disable_distributed disable_events disable_hash_cache disable_logging distributed_loginfo
enable_file_events enable_foreign enable_numeric_monitoring ephemeral es_fim_enable_open_events events_optimize
extensions_default_index ignore_table_exceptions keychain_access_cache logger_event_type logger_numerics
logger_rotate logger_snapshot_event_type logger_syslog_prepend_cee logger_tls_compress schedule_lognames
thrift_verbose tls_disable_status_log verbose yara_sigurl_authenticate
""",
    "string": """
augeas_lenses aws_access_key_id aws_firehose_endpoint aws_firehose_region aws_firehose_stream
aws_kinesis_endpoint aws_kinesis_region aws_kinesis_stream aws_profile_name aws_proxy_host aws_proxy_password
aws_proxy_scheme aws_proxy_username aws_region aws_secret_access_key aws_session_token aws_sts_arn_role
aws_sts_region aws_sts_session_name distributed_plugin distributed_tls_read_endpoint
distributed_tls_write_endpoint docker_socket experiment_list host_identifier logger_kafka_acks
logger_kafka_brokers logger_kafka_compression logger_kafka_topic logger_path logger_tls_endpoint nullvalue
numeric_monitoring_filesystem_path numeric_monitoring_plugins pack_delimiter specified_identifier
""",
    "uint": """
aws_firehose_period aws_imdsv2_request_attempts aws_imdsv2_request_interval aws_kinesis_period aws_proxy_port
aws_sts_timeout buffered_log_max distributed_denylist_duration distributed_interval distributed_tls_max_attempts
events_expiry events_max hash_cache_max keychain_access_interval logger_rotate_max_files logger_rotate_size
logger_tls_backoff_max logger_tls_max_lines logger_tls_max_linesize logger_tls_period
numeric_monitoring_pre_aggregation_time pack_refresh_interval read_max schedule_default_interval schedule_epoch
schedule_max_drift schedule_reload schedule_splay_percent schedule_timeout table_delay thrift_timeout yara_delay
""",
    "int": """
logger_min_status logger_min_stderr logger_syslog_facility thrift_string_size_limit
""",
}
"""What `config.options` takes on every platform."""

_FLAGS = {
    "bool": """
aws_enforce_fips carver_compression carver_disable_function config_check config_dump config_enable_backup
daemonize database_dump disable_carver disable_enrollment disable_extensions disable_reenrollment
disable_watchdog enable_extensions_watchdog enable_watchdog_debug enroll_always force install logger_stderr
logtostderr tls_session_reuse uninstall
""",
    "string": """
carver_continue_endpoint carver_start_endpoint config_path config_plugin config_tls_endpoint database_path
disable_tables enable_tables enroll_secret_env enroll_secret_path enroll_tls_endpoint extensions_autoload
extensions_interval extensions_require extensions_socket extensions_timeout logger_mode logger_plugin pidfile
proxy_hostname tls_client_cert tls_client_key tls_hostname tls_server_certs
""",
    "uint": """
alarm_timeout carver_block_size carver_expiry config_accelerated_refresh config_refresh config_tls_max_attempts
tls_enroll_max_attempts tls_enroll_max_interval tls_session_timeout watchdog_delay
watchdog_forced_shutdown_delay watchdog_latency_limit watchdog_memory_limit watchdog_utilization_limit
""",
    "int": """
stderrthreshold watchdog_level
""",
}
"""What `command_line_flags` takes besides."""

_ELSEWHERE = {
    "bool": """
allow_unsafe alsologtostderr audit_allow_accept_socket_events audit_allow_apparmor_events
audit_allow_failed_socket_events audit_allow_fork_process_events audit_allow_kill_process_events
audit_allow_null_accept_socket_events audit_allow_seccomp_events audit_allow_selinux_events audit_debug
audit_fim_debug audit_fim_show_accesses audit_force_reconfigure audit_force_unconfigure audit_persist
audit_show_partial_fim_events audit_show_untracked_res_warnings disable_endpointsecurity
disable_endpointsecurity_fim disable_memory enable_bpf_events enable_keyboard_events enable_mouse_events
enable_ntfs_event_publisher enable_powershell_events_subscriber enable_process_etw_events enable_syslog
enable_windows_events_publisher enable_windows_events_subscriber ignore_registry_exceptions
keep_container_worker_open ntfs_event_publisher_debug stop_logging_if_full_disk tls_dump
usn_journal_reader_debug
""",
    "int": """
audit_backlog_limit audit_backlog_wait_time bpf_buffer_storage_size bpf_perf_event_array_exp
etw_kernel_trace_buffer_size etw_kernel_trace_flush_timer etw_kernel_trace_maximum_buffers
etw_kernel_trace_minimum_buffers etw_userspace_trace_buffer_size etw_userspace_trace_flush_timer
etw_userspace_trace_maximum_buffers etw_userspace_trace_minimum_buffers
experiments_linuxevents_circular_buffer_size experiments_linuxevents_perf_output_size groups_service_delay
groups_service_interval logbufsecs malloc_trim_threshold max_log_size minloglevel syslog_events_expiry
syslog_events_max syslog_rate_limit users_service_delay users_service_interval
""",
    "string": """
es_fim_mute_path_literal es_fim_mute_path_prefix events_streaming_plugin hardware_disabled_types log_dir
lxd_socket syslog_pipe_path vmodule windows_event_channels
""",
}
"""Of one platform, or hidden from the help: taken in both."""

REFUSED_FLAGS = frozenset({"host_identifier", "extensions_autoload", "database_path"})


def _types(*groups: dict[str, str]) -> dict[str, str]:
    return {name: kind for group in groups for kind, names in group.items() for name in names.split()}


OPTION_TYPES = _types(_OPTIONS, _ELSEWHERE)
FLAG_TYPES = _types(_OPTIONS, _ELSEWHERE, _FLAGS)
