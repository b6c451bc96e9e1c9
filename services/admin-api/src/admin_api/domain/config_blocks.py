"""The app config's stored part, block by block, with the defaults of a new installation (Fleet 4.70).

Unknown keys and wrong types are refused. What needs mail, SSO or ticket systems is kept and returned, and does nothing.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

LARGEST_LIMIT = 2**53  # what every JSON reader tells from its neighbours


class Block(BaseModel):
    """A strict object."""

    model_config = ConfigDict(strict=True, extra="forbid")


class OrgInfo(Block):
    """Who runs this."""

    org_name: str = ""
    org_logo_url: str = ""
    org_logo_url_light_background: str = ""
    contact_url: str = "https://fleetdm.com/company/contact"


class ServerSettings(Block):
    """The server's address and switches; `query_report_cap` 0 means 1000."""

    server_url: str = ""
    live_query_disabled: bool = False
    enable_analytics: bool = True
    debug_host_ids: list[int] | None = Field(default=None, exclude_if=lambda value: value is None)
    deferred_save_host: bool = False
    query_reports_disabled: bool = False
    scripts_disabled: bool = False
    ai_features_disabled: bool = False
    query_report_cap: int = 0


class SmtpSettings(Block):
    """Mail."""

    enable_smtp: bool = False
    configured: bool = False
    sender_address: str = ""
    server: str = ""
    port: int = 587
    authentication_type: str = "authtype_username_password"
    user_name: str = ""
    password: str = ""
    enable_ssl_tls: bool = True
    authentication_method: str = "authmethod_plain"
    domain: str = ""
    verify_ssl_certs: bool = True
    enable_start_tls: bool = True


class HostExpirySettings(Block):
    """When hosts that are not seen are removed; window in days."""

    host_expiry_enabled: bool = False
    host_expiry_window: int = 0


class ActivityExpirySettings(Block):
    """When activities are removed; window in days."""

    activity_expiry_enabled: bool = False
    activity_expiry_window: int = 0


class Features(Block):
    """What is asked from hosts."""

    enable_host_users: bool = True
    enable_software_inventory: bool = True
    additional_queries: dict[str, str] | None = Field(default=None, exclude_if=lambda value: value is None)
    detail_query_overrides: dict[str, str | None] | None = Field(default=None, exclude_if=lambda value: value is None)


class SsoSettings(Block):
    """Single sign-on."""

    entity_id: str = ""
    issuer_uri: str = ""
    metadata: str = ""
    metadata_url: str = ""
    idp_name: str = ""
    idp_image_url: str = ""
    enable_sso: bool = False
    enable_sso_idp_login: bool = False
    enable_jit_provisioning: bool = False
    enable_jit_role_sync: bool = False


class FleetDesktop(Block):
    """The desktop application."""

    transparency_url: str = "https://fleetdm.com/transparency"


class VulnerabilitySettings(Block):
    """Where vulnerability data is kept."""

    databases_path: str = ""


class ActivitiesWebhook(Block):
    """Posts every activity."""

    enable_activities_webhook: bool = False
    destination_url: str = ""


class HostStatusWebhook(Block):
    """Posts when too many hosts are silent."""

    enable_host_status_webhook: bool = False
    destination_url: str = ""
    host_percentage: float = 0
    days_count: int = 0


class FailingPoliciesWebhook(Block):
    """Posts hosts that fail policies."""

    enable_failing_policies_webhook: bool = False
    destination_url: str = ""
    policy_ids: list[int] | None = None
    host_batch_size: int = 0


class VulnerabilitiesWebhook(Block):
    """Posts hosts with new vulnerabilities."""

    enable_vulnerabilities_webhook: bool = False
    destination_url: str = ""
    host_batch_size: int = 0


_DURATION = re.compile(r"(?=.)(\d+(\.\d+)?h)?(\d+(\.\d+)?m)?(\d+(\.\d+)?s)?")


class WebhookSettings(Block):
    """Where this server posts; `interval` is a duration such as `24h0m0s`, on input also nanoseconds."""

    activities_webhook: ActivitiesWebhook = ActivitiesWebhook()
    host_status_webhook: HostStatusWebhook = HostStatusWebhook()
    failing_policies_webhook: FailingPoliciesWebhook = FailingPoliciesWebhook()
    vulnerabilities_webhook: VulnerabilitiesWebhook = VulnerabilitiesWebhook()
    interval: str = "24h0m0s"

    @field_validator("interval", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            seconds = value // 1_000_000_000
            return f"{seconds // 3600}h{seconds // 60 % 60}m{seconds % 60}s"
        if isinstance(value, str) and not _DURATION.fullmatch(value):
            raise ValueError("not a duration")
        return value


class Integrations(Block):
    """Ticket systems, calendars, certificate authorities."""

    jira: list[dict[str, Any]] = []
    zendesk: list[dict[str, Any]] = []
    google_calendar: list[dict[str, Any]] = []
    digicert: list[dict[str, Any]] | None = None
    ndes_scep_proxy: dict[str, Any] | None = None
    custom_scep_proxy: list[dict[str, Any]] | None = None
    conditional_access_enabled: bool | None = None


class GitOps(Block):
    """Whether the pages are read-only because a repository rules."""

    gitops_mode_enabled: bool = False
    repository_url: str = ""


SENDS_OR_FETCHES = ["carves", "carve()", "curl", "curl_certificate", "yara.sigurl", "yara_process.sigurl"]
"""What sends files of a host, or has it call any address: by default observers of both kinds are kept from it."""


class DeniedSql(Block):
    """What each role may not ask live: `table`, `table.column` or `function()` of osquery."""

    admin: list[str] = []
    maintainer: list[str] = []
    observer_plus: list[str] = SENDS_OR_FETCHES
    observer: list[str] = SENDS_OR_FETCHES


class LiveQueryPolicy(Block):
    """What may be asked live (not in Fleet); `extension_tables` are tables that `denied` may name beside osquery's."""

    denied: DeniedSql = DeniedSql()
    extension_tables: list[str] = []


Limit = Annotated[int, Field(ge=0, le=LARGEST_LIMIT)]


class RoleBudget(Block):
    """Limits of one live query, as `flotilla_common.contracts.campaigns.Budget` counts them; null: none."""

    max_rows: Limit | None = None
    max_bytes: Limit | None = None
    max_cpu_ms: Limit | None = None
    max_failures: Limit | None = None
    max_denylisted: Limit | None = None
    hosts_at_a_time: Annotated[int, Field(ge=1, le=LARGEST_LIMIT)] | None = None


class RoleBudgets(Block):
    """Limits for each role."""

    admin: RoleBudget = RoleBudget()
    maintainer: RoleBudget = RoleBudget()
    observer_plus: RoleBudget = RoleBudget()
    observer: RoleBudget = RoleBudget()


class LiveQueryBudgets(Block):
    """What live queries may cost (not in Fleet): `default` where nobody says, `most` that a role may have."""

    default: RoleBudgets = RoleBudgets()
    most: RoleBudgets = RoleBudgets()


class Document(Block):
    """All stored blocks."""

    org_info: OrgInfo = OrgInfo()
    server_settings: ServerSettings = ServerSettings()
    smtp_settings: SmtpSettings = SmtpSettings()
    host_expiry_settings: HostExpirySettings = HostExpirySettings()
    activity_expiry_settings: ActivityExpirySettings = ActivityExpirySettings()
    features: Features = Features()
    sso_settings: SsoSettings = SsoSettings()
    fleet_desktop: FleetDesktop = FleetDesktop()
    vulnerability_settings: VulnerabilitySettings = VulnerabilitySettings()
    webhook_settings: WebhookSettings = WebhookSettings()
    integrations: Integrations = Integrations()
    gitops: GitOps = GitOps()
    live_query_policy: LiveQueryPolicy = LiveQueryPolicy()
    live_query_budgets: LiveQueryBudgets = LiveQueryBudgets()
    scripts: list[str] | None = None
    yara_rules: list[dict[str, Any]] | None = Field(default=None, exclude_if=lambda value: value is None)
