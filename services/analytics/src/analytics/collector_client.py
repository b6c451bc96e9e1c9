"""The way to the collector."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2

from analytics.errors import CollectorDown, ReportRefused

PATH = "/api/v1/reports"
TIMEOUT_SECONDS = 10.0  # of one step: connect, write, read
TOTAL_SECONDS = 12.0  # of a whole exchange, however slowly a collector trickles
TRY_LATER = frozenset({408, 425, 429})


class CollectorClient:
    """Posts reports to one collector."""

    def __init__(self, url: str) -> None:
        self._url = url + PATH
        self._client = httpx2.AsyncClient(timeout=TIMEOUT_SECONDS)

    async def post(self, report: dict[str, Any]) -> None:
        """Send a report; sending one twice does no harm.

        Raises:
            CollectorDown: it may be taken later.
            ReportRefused: it will never be taken.

        """
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                answer = await self._client.post(self._url, json=report)
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
            raise CollectorDown(f"{type(error).__name__}: {error}"[:300]) from error
        if answer.is_success:
            return
        if answer.is_client_error and answer.status_code not in TRY_LATER:
            raise ReportRefused(f"status {answer.status_code}: {answer.text[:200]}")
        raise CollectorDown(f"status {answer.status_code}")

    async def close(self) -> None:
        """Close kept connections."""
        await self._client.aclose()
