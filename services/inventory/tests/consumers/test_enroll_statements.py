"""How many statements an enroll sends: each is a turn to Postgres, while a storm of enrolls waits for connections."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from flotilla_common.contracts.hosts import EnrollOrbitV1
from inventory.consumers import answer_enroll_orbit
from sqlalchemy import event
from sqlalchemy.engine import Engine

from ..conftest import SECRET

OF_AN_ENROLL = 5  # secret and scope, the row's lock, what is written, the record, the outbox
WITH_DEVICE_TOKEN = 6  # that of the orbit before is removed
UUID = "4C4C4544-0051-3610-8052-B4C04F4A3332"


@contextlib.contextmanager
def statements() -> Iterator[list[str]]:
    """Yield the statements that are sent meanwhile."""
    sent: list[str] = []

    def note(connection, cursor, statement, parameters, context, executemany):
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.fixture
def agents(deps, enroll):
    """Enroll an agent of one machine, by its serial and address."""

    async def orbit(serial="S-1", address="192.0.2.1"):
        members = {"hardware_serial": serial, "remote_address": address, "platform": "ubuntu"}
        await answer_enroll_orbit.answer(EnrollOrbitV1(enroll_secret=SECRET, hardware_uuid=UUID, **members), deps)

    async def osqueryd(serial="S-1", address="192.0.2.1"):
        details = {"system_info": {"hardware_serial": serial}}
        await enroll(UUID, host_details=details, remote_address=address)

    return {"orbit": orbit, "osqueryd": osqueryd}


@pytest.mark.parametrize(("agent", "again"), [("osqueryd", OF_AN_ENROLL), ("orbit", WITH_DEVICE_TOKEN)])
async def test_a_machine_enrolls_by_few_statements_for_the_first_time_and_again(agents, agent, again):
    with statements() as first:
        await agents[agent]()
    with statements() as second:
        await agents[agent]()

    assert (len(first), len(second)) == (OF_AN_ENROLL, again), (first, second)


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [("osqueryd", "orbit", WITH_DEVICE_TOKEN), ("orbit", "osqueryd", OF_AN_ENROLL)],
)
async def test_the_other_agent_of_a_machine_is_not_looked_up_any_longer(agents, first, second, count):
    await agents[first]()

    with statements() as sent:
        await agents[second]()

    assert len(sent) == count, sent


@pytest.mark.parametrize(("agent", "count"), [("osqueryd", OF_AN_ENROLL), ("orbit", WITH_DEVICE_TOKEN)])
async def test_a_shared_identity_takes_one_statement_more_for_the_first_machine_and_two_for_the_newcomer(
    agents, agent, count
):
    for serial in ("S-1", "S-2", "S-1", "S-2"):
        await agents[agent](serial)

    with statements() as of_first:
        await agents[agent]("S-1")
    with statements() as of_newcomer:
        await agents[agent]("S-2")

    assert (len(of_first), len(of_newcomer)) == (count + 1, count + 2), (of_first, of_newcomer)
