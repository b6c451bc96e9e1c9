"""POST /trigger: jobs by name."""

from __future__ import annotations

from typing import Any

import pytest
from flotilla_common.contracts.analytics import ReportNowV1, UsageReportedV1

from .conftest import responding


@pytest.fixture
async def reporter(bus_for):
    """analytics' part."""
    asked: list[ReportNowV1] = []

    async def answer(request: ReportNowV1, _: None) -> UsageReportedV1:
        asked.append(request)
        return UsageReportedV1(report={"numHostsEnrolled": 3}, outcome="not_sent")

    async with responding(await bus_for("analytics"), (ReportNowV1, answer)):
        yield asked


async def test_an_admin_gets_a_usage_report_now(ask, admin, reporter):
    answer = await ask(admin, "POST /trigger", name="usage_statistics")

    assert answer.status_code == 200
    assert answer.json() == {"outcome": "not_sent", "error": "", "report": {"numHostsEnrolled": 3}}
    assert len(reporter) == 1


@pytest.mark.parametrize("parameters", [{}, {"name": ""}, {"name": "cleanups"}, {"name": "x" * 5000}])
async def test_a_job_that_does_not_exist_is_not_found(ask, admin, reporter, parameters: dict[str, Any]):
    answer = await ask(admin, "POST /trigger", **parameters)

    assert answer.status_code == 404
    assert reporter == []


@pytest.mark.parametrize("role", ["maintainer", "observer", "observer_plus", "gitops"])
async def test_only_a_global_admin_starts_jobs(ask, make_user, reporter, role: str):
    member = await make_user(role)

    assert (await ask(member, "POST /trigger", name="usage_statistics")).status_code == 403
    assert reporter == []


async def test_without_analytics_it_is_unavailable(ask, admin):
    assert (await ask(admin, "POST /trigger", name="usage_statistics")).status_code == 503
