"""Why a report did not get through."""

from __future__ import annotations

from flotilla_common.errors import FleetError, Invalid, Unavailable


class CollectorDown(Unavailable):
    """The collector does not answer, or not now."""

    code = "collector_down"


class ReportRefused(Invalid):
    """The collector will not take this report, however often it is sent."""

    code = "report_refused"


class ReportTooLarge(FleetError):
    """A report is larger than a collector takes."""

    code = "report_too_large"
