"""A class whose head was deleted leaves nothing behind."""

from __future__ import annotations

from flotilla_common.contracts.plans import head_key
from flotilla_common.testing import eventually

from ..conftest import House


async def test_a_class_whose_head_is_deleted_is_forgotten(house: House) -> None:
    node, orbit = house.inventory.add_host(1), house.inventory.add_orbit(2)
    await house.post("config", {"node_key": node})
    await house.orbit("config", {"orbit_node_key": orbit})
    [head] = house.gateway.plans._heads.values()

    await house.merger.bucket.delete(head_key(head.class_key))

    await eventually(lambda: house.gateway.plans.head_of(head.class_key) is None)
    assert len(house.gateway.plans) == 0
    house.merger.down = True
    for path, reply in (
        ("config", await house.post("config", {"node_key": node})),
        ("orbit/config", await house.orbit("config", {"orbit_node_key": orbit})),
    ):
        assert reply.status_code == 503, path
