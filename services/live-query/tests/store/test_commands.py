"""Bucket CAMPAIGNS."""

import pytest
from flotilla_common.contracts.campaigns import done_key
from live_query.store import commands


@pytest.mark.parametrize("value", [b"", b"garbage"])
async def test_a_done_set_that_makes_no_sense_told_of_nobody(deps, value):
    await commands.put_done(deps.bucket, deps.objects, 5, [1, 2])
    before = await commands.done_count(deps.bucket, deps.objects, 5)
    await deps.bucket.put(done_key(5), value)

    assert (before, await commands.done_count(deps.bucket, deps.objects, 5)) == (2, 0)
