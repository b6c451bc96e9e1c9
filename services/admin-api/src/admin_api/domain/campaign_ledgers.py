"""A campaign's ledger as people ask for it: some states, or all of it page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from admin_api.errors import InvalidArgument
from admin_api.store import campaign_ledgers as store
from admin_api.store.campaign_ledgers import OFFERED, STATES, Entry
from admin_api.store.host_scope import VisibleTeams

PAGE = 2000  # hosts read together


def states_of(text: str) -> frozenset[str]:
    """Return the states that a filter names, comma separated.

    Raises:
        InvalidArgument: one of them is no state.

    """
    states = frozenset(part.strip() for part in text.split(",") if part.strip())
    unknown = sorted(states.difference(STATES, [OFFERED]))
    if unknown:
        raise InvalidArgument("state", f"unknown state: {unknown[0]}; known are {', '.join((*STATES, OFFERED))}")
    return states


async def pages(
    sessions: async_sessionmaker[AsyncSession],
    campaign_id: int,
    states: Collection[str],
    teams: VisibleTeams,
    after: int = 0,
) -> AsyncIterator[tuple[int, list[Entry]]]:
    """Yield a ledger behind a host by host id, with the last id of each page.

    Each page is of its own moment: a host's state is the one it had then.
    """
    last = after
    while True:
        async with sessions.begin() as session:
            found = await store.after(session, campaign_id, last, PAGE, states, teams)
        if found:
            last = found[-1].host_id
            yield last, found
        if len(found) < PAGE:
            return
