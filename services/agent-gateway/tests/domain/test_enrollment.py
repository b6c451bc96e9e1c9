"""The queue of enrolls: made-up secrets and one team's storm hold up nobody else."""

from __future__ import annotations

import asyncio

import pytest
from agent_gateway.domain import enrollment
from agent_gateway.domain.counters import Counters
from agent_gateway.domain.enrollment import Enrollments
from agent_gateway.domain.hosts import HostCache
from flotilla_common.contracts.hosts import BadEnrollSecret, EnrolledV1, EnrollHostV1, HostRecord
from flotilla_common.contracts.node_keys import hash_node_key
from pydantic import SecretStr

GOOD = ("team a", "team b")


class Inventory:
    """Lets hosts in by good secrets; after `stop` it answers nobody before `go`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_go = asyncio.Event()
        self.may_go.set()

    async def ask(self, request: EnrollHostV1) -> EnrolledV1:
        secret = request.enroll_secret.get_secret_value()
        self.asked.append(secret)
        await self.may_go.wait()
        if secret not in GOOD:
            raise BadEnrollSecret
        number = len(self.asked)
        record = HostRecord(
            host_id=number, revision=number, node_key_hash=hash_node_key(str(number)).hex(), team_id=None, platform=""
        )
        return EnrolledV1(node_key=SecretStr(str(number)), host=record)


def enrolling(secret: str) -> EnrollHostV1:
    return EnrollHostV1(
        enroll_secret=SecretStr(secret), host_identifier="A-1", platform_type="", host_details={}, remote_address=""
    )


async def test_secrets_that_are_proven_take_turns_with_all_made_up_ones_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(enrollment, "AT_ONCE", 1)
    inventory = Inventory()
    enrollments = Enrollments(HostCache(), inventory.ask, Counters())
    for secret in GOOD:
        await enrollments.enroll(enrolling(secret))
    inventory.asked.clear()
    inventory.may_go.clear()

    flood = [f"made up {number}" for number in range(50)]
    waiting = [
        asyncio.create_task(enrollments.enroll(enrolling(secret))) for secret in (*flood, *(GOOD[0],) * 50, GOOD[1])
    ]
    await asyncio.sleep(0)
    inventory.may_go.set()
    await asyncio.gather(*waiting, return_exceptions=True)

    assert len(inventory.asked) == 101
    assert inventory.asked.index(GOOD[1]) <= 4
    assert inventory.asked[:20].count(GOOD[0]) >= 8


async def test_a_cautious_door_asks_about_proven_secrets_alone_and_shares_what_is_learned() -> None:
    inventory = Inventory()
    enrollments = Enrollments(HostCache(), inventory.ask, Counters())
    cautious = enrollments.cautious()
    for secret in ("team a", "made up"):
        with pytest.raises(Exception, match="too many bad secrets"):
            await cautious.enroll(enrolling(secret))

    await enrollments.enroll(enrolling("team a"))

    assert await cautious.enroll(enrolling("team a"))
    assert inventory.asked == ["team a"] * 2
