"""Leases: one holder at a time, and none that is silent."""

import asyncio
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from flotilla_common.bus import outage
from flotilla_common.db import leases
from flotilla_common.db.engine import connect_alone
from flotilla_common.errors import LeaseLost
from flotilla_common.testing.waiting import eventually
from structlog.testing import capture_logs

NAME = "a test"
SILENCE_SECONDS = 1.0


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(leases, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(leases, "SILENCE_SECONDS", SILENCE_SECONDS)


@pytest.fixture
def url(database):
    return database.url("inventory")


@asynccontextmanager
async def another_process(url):
    arguments = [str(Path(__file__).with_name("lease_holder.py")), url, NAME, str(SILENCE_SECONDS)]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"held\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def end_session(url, connection):
    async with await connect_alone(url) as other:
        await other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])


async def test_the_second_waits_for_the_first(url):
    async with leases.hold(url, NAME):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5), leases.hold(url, NAME):
                pass
        async with leases.hold(url, "another"):
            pass
    async with asyncio.timeout(5), leases.hold(url, NAME):
        pass


async def test_a_frozen_holder_loses_it_and_hears_so_when_it_wakes(url):
    async with another_process(url) as process:
        process.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(SILENCE_SECONDS + 10), leases.hold(url, NAME):
            process.send_signal(signal.SIGCONT)
            assert b"lost\n" in [line async for line in process.stdout]  # its warnings are there too


async def test_a_killed_holder_keeps_nobody_waiting(url):
    async with another_process(url) as process:
        process.kill()
        async with asyncio.timeout(10), leases.hold(url, NAME):
            pass


async def test_a_holder_that_has_nothing_to_say_keeps_it(url):
    async with await connect_alone(url) as other, leases.hold(url, NAME) as lease:
        await asyncio.sleep(SILENCE_SECONDS * 2.5)
        assert not await _is_free(other)
        await lease.confirm()


async def test_one_in_a_transaction_is_not_disturbed(url):
    async with leases.hold(url, NAME) as lease:
        with capture_logs() as written:
            async with lease.connection.transaction():
                with pytest.raises(psycopg.errors.DivisionByZero):
                    await lease.connection.execute("SELECT 1/0")
                await asyncio.sleep(SILENCE_SECONDS)
                raise psycopg.Rollback
        assert written == []
        await asyncio.sleep(SILENCE_SECONDS * 2.5)
        await lease.confirm()


async def test_a_question_that_was_not_answered_in_time_does_not_end_it(url, monkeypatch):
    async with leases.hold(url, NAME) as lease:
        monkeypatch.setattr(leases, "CONFIRM_TIMEOUT_SECONDS", 0.0)
        with pytest.raises(LeaseLost):
            await lease.confirm()
        with capture_logs() as written:
            await eventually(lambda: [one for one in written if "not be confirmed" in one["event"]])
        monkeypatch.setattr(leases, "CONFIRM_TIMEOUT_SECONDS", 5.0)

        await asyncio.sleep(SILENCE_SECONDS * 2.5)
        await lease.confirm()


async def test_a_holder_that_is_frozen_in_a_transaction_loses_it_too(url):
    async with await connect_alone(url) as other, leases.hold(url, NAME) as lease:
        await lease.connection.execute("SET idle_in_transaction_session_timeout = 300")
        await lease.connection.execute("BEGIN")
        await eventually(lambda: _is_free(other), timeout=10)
        with pytest.raises(outage.kinds()):
            await lease.connection.execute("SELECT 1")


async def _is_free(connection):
    cursor = await connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [NAME])
    return (await cursor.fetchone())[0]


async def test_a_session_that_ended_is_a_lost_lease(url):
    async with leases.hold(url, NAME) as lease:
        await end_session(url, lease.connection)
        with pytest.raises(LeaseLost, match=NAME):
            await lease.confirm()


async def test_a_session_that_ended_is_noticed_though_nobody_asks(url):
    async with leases.hold(url, NAME) as lease:
        await end_session(url, lease.connection)
        await eventually(lambda: lease.connection.closed, timeout=10)


async def test_its_connection_is_closed_whenever_its_holder_is_told_to_end(url):
    """Also while it ends already: otherwise the others would wait until the session is silent for too long."""

    async def hold_until_it_fails():
        async with leases.hold(url, NAME) as lease:
            connections.append(lease.connection)
            await asyncio.sleep(0.01)  # psycopg's rollback gives others a turn when it last did so 5 ms ago or earlier
            is_failing.set()
            raise ValueError("the work failed")

    async def turn(number):
        task = asyncio.create_task(hold_until_it_fails())
        await is_failing.wait()
        for _ in range(number):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    connections, was_cancelled = [], []
    for number in range(20):
        is_failing = asyncio.Event()
        was_cancelled.append(await turn(number))
        assert connections[-1].closed, f"cancelled {number} turns of the loop later"
    assert set(was_cancelled) == {True, False}
