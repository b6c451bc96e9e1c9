"""Usage statistics. Answered by the reporter of analytics alone."""

from __future__ import annotations

from typing import Any, ClassVar

from flotilla_common.contracts.base import Answer, Request


class UsageReportedV1(Answer):
    """The report that was built. `outcome`: not_sent (no collector), accepted, pending (tried again) or refused."""

    report: dict[str, Any]
    outcome: str
    error: str = ""


class ReportNowV1(Request[UsageReportedV1]):
    """Build a usage report now and, when a collector is set, send it."""

    subject: ClassVar[str] = "analytics.report_now.v1"
    answer: ClassVar[type[Answer]] = UsageReportedV1
    timeout_seconds: ClassVar[float] = 15.0
