"""What a destination refused for good: listed, looked into, tried again, thrown away; the books follow."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flotilla_common.contracts.log_dead_letters import (
    DeadLettersV1,
    DeadLetterV1,
    DiscardDeadLettersV1,
    LetterChoice,
    ReplayDeadLettersV1,
)
from flotilla_common.db.models.log_shipper import Batch, DeadLetter
from flotilla_common.errors import Invalid, NotFound
from flotilla_common.testing import eventually
from log_shipper.consumers.sweep_dead import sweep_once
from log_shipper.store import dead_letters
from log_shipper.store.dead_letters import PART_BYTES, Letter
from log_shipper.store.stream import StoredMessage

from ..conftest import balanced
from .test_duplicates import Mailbox, settled

ALL = LetterChoice(destination="mailbox")
BAD = [b'{"number":1}', b'{"number":4}']


@pytest.fixture
async def admin(bus_for):
    return await bus_for("admin_api")


@pytest.fixture
def mailbox() -> Mailbox:
    found = Mailbox([])
    found.refused = set(BAD)
    return found


async def two_died(gateway, deps) -> None:
    await gateway.send("result", 6)
    await eventually(lambda: settled(deps, delivered=4, duplicates=0, dead_lettered=2))


async def test_letters_are_grouped_by_message_and_reason_and_can_be_looked_into(
    gateway, deps, shipping, mailbox, admin
):
    async with shipping(deps, mailbox):
        await two_died(gateway, deps)
        await gateway.send_raw(b"rubbish \xff", "4")
        await eventually(lambda: settled(deps, delivered=4, duplicates=0, dead_lettered=6))
        page = await admin.request(DeadLettersV1())
        [lines, rubbish] = page.letters
        looked = [await admin.request(DeadLetterV1(id=letter.id)) for letter in page.letters]

        assert (page.count, page.lines) == (2, 6)
        assert (lines.reason, lines.lines, lines.is_readable) == ("no such mailbox", 2, True)
        assert "manifest" in rubbish.reason
        assert (rubbish.sequence, rubbish.lines, rubbish.is_readable) == (2, 4, False)
        assert [found.contents for found in looked] == [tuple(line.decode() for line in BAD), ("rubbish �",)]
        assert (await admin.request(DeadLettersV1(choice=LetterChoice(reason="no such mailbox")))).count == 1
        assert (await admin.request(DeadLettersV1(after_id=lines.id))).letters == (rubbish,)
        with pytest.raises(NotFound):
            await admin.request(DeadLetterV1(id=99))


async def test_letters_that_are_tried_again_are_delivered_and_leave_nothing_behind(
    gateway, deps, shipping, mailbox, admin, database, provision_js
):
    async with shipping(deps, mailbox):
        await two_died(gateway, deps)
        mailbox.refused.clear()
        touched = await admin.request(ReplayDeadLettersV1(choice=ALL))
        assert (touched.count, touched.lines) == (1, 2)
        await eventually(lambda: settled(deps, delivered=6, duplicates=0))
        await eventually(lambda: nothing_dead(provision_js))

    assert sorted(mailbox.received) == sorted(gateway.sent["result"])
    assert not await database.rows(DeadLetter)


async def nothing_dead(provision_js) -> bool:
    return await provision_js.last_dead() is None


async def test_what_is_refused_again_stays_with_its_new_reason(gateway, deps, shipping, mailbox, admin, database):
    async with shipping(deps, mailbox):
        await two_died(gateway, deps)
        mailbox.refused = {BAD[0]}
        await admin.request(ReplayDeadLettersV1(choice=ALL))
        await eventually(lambda: settled(deps, delivered=5, duplicates=0, dead_lettered=1))
        [row] = await database.rows(DeadLetter)
        assert (row.lines, row.replay_asked_at) == (1, None)
        looked = await admin.request(DeadLetterV1(id=row.id))
        assert looked.contents == (BAD[0].decode(),)
        mailbox.refused.clear()
        await admin.request(ReplayDeadLettersV1(choice=LetterChoice(ids=(row.id,))))
        await eventually(lambda: settled(deps, delivered=6, duplicates=0))


async def test_a_death_in_the_middle_of_a_retry_loses_nothing(gateway, deps, shipping, mailbox, admin):
    async with shipping(deps, mailbox):
        await two_died(gateway, deps)
        mailbox.refused.clear()
        mailbox.fatal = {BAD[1]}
        await admin.request(ReplayDeadLettersV1(choice=ALL))
        await eventually(lambda: mailbox.received.count(BAD[1]) >= 1)
    mailbox.fatal.clear()
    async with shipping(deps, mailbox):
        await gateway.send("result", 1)
        await eventually(lambda: everything(deps, 7))

    assert set(mailbox.received) == set(gateway.sent["result"])


async def everything(deps, lines: int) -> bool:
    entry = (await balanced(deps))["mailbox", "result"]
    return (entry.received, entry.delivered, entry.pending, entry.dead_lettered) == (lines, lines, 0, 0)


async def test_lines_that_stream_dead_has_lost_are_told_and_not_tried_for_ever(
    gateway, deps, shipping, mailbox, admin, database
):
    async with shipping(deps, mailbox):
        await two_died(gateway, deps)
        [row] = await database.rows(DeadLetter)
        await dead_letters.free(deps.bus, row.dead_sequences)
        mailbox.refused.clear()
        await admin.request(ReplayDeadLettersV1(choice=ALL))
        await eventually(lambda: is_given_up(database))
        await gateway.send("result", 1)
        await eventually(lambda: settled(deps, delivered=5, duplicates=0, dead_lettered=2))


async def is_given_up(database) -> bool:
    [row] = await database.rows(DeadLetter)
    return not row.is_readable and "not in stream DEAD any more" in row.reason and row.replay_asked_at is None


async def test_letters_that_are_discarded_are_gone_and_stay_in_the_books(
    gateway, deps, shipping, mailbox, admin, database, provision_js
):
    async with shipping(deps, mailbox):
        await two_died(gateway, deps)
        touched = await admin.request(DiscardDeadLettersV1(choice=ALL))
        assert (touched.count, touched.lines) == (1, 2)
        assert await settled(deps, delivered=4, duplicates=0, dead_lettered=2)
    assert not await database.rows(DeadLetter)
    assert await provision_js.last_dead() is None


async def test_letters_of_a_destination_that_is_gone_are_not_tried(gateway, deps, shipping, mailbox, admin):
    async with shipping(deps, mailbox):
        await two_died(gateway, deps)
    async with shipping(deps):

        async def is_refused() -> bool:
            with pytest.raises(Invalid, match="no destination mailbox any more"):
                await admin.request(ReplayDeadLettersV1(choice=ALL))
            return True

        await eventually(is_refused)


async def test_a_line_of_a_letter_has_its_place_its_host_and_its_time(gateway, deps, shipping, mailbox, admin):
    seen = []

    class Noting(Mailbox):
        async def deliver(self, batch, target):
            seen.extend(batch.missing())
            return await super().deliver(batch, target)

    noting = Noting([])
    noting.refused = set(BAD)
    async with shipping(deps, noting):
        await two_died(gateway, deps)
        first = [line for line in seen if line.raw in BAD]
        seen.clear()
        noting.refused.clear()
        await admin.request(ReplayDeadLettersV1(choice=ALL))
        await eventually(lambda: settled(deps, delivered=6, duplicates=0))

    assert seen == first


async def test_messages_that_make_no_sense_in_the_same_way_are_buried_each(gateway, deps, shipping, mailbox, admin):
    for _ in range(2):
        await gateway.send_raw(b"rubbish", "1")
    async with shipping(deps, mailbox):
        await eventually(lambda: settled(deps, delivered=0, duplicates=0, dead_lettered=2))
        [one, other] = (await admin.request(DeadLettersV1())).letters
        await admin.request(DiscardDeadLettersV1(choice=LetterChoice(ids=(one.id,))))
        looked = await admin.request(DeadLetterV1(id=other.id))

    assert looked.contents == ("rubbish",)


async def test_lines_that_are_lost_when_a_retry_begins_anew_are_told(gateway, deps, shipping, mailbox, admin, database):
    async with shipping(deps, mailbox):
        await two_died(gateway, deps)
        mailbox.refused.clear()
        mailbox.fatal = {BAD[0]}
        await admin.request(ReplayDeadLettersV1(choice=ALL))
        await eventually(lambda: mailbox.received.count(BAD[0]) >= 1)
    [row] = await database.rows(DeadLetter)
    await dead_letters.free(deps.bus, row.dead_sequences)
    mailbox.fatal.clear()
    async with shipping(deps, mailbox):
        await gateway.send("result", 1)
        await eventually(lambda: settled(deps, delivered=5, duplicates=0, dead_lettered=2))

    assert await is_given_up(database)


async def test_what_a_crash_leaves_without_a_letter_is_swept_and_no_letter_is_touched(
    gateway, deps, shipping, mailbox, admin, database, provision_js
):
    async with shipping(deps, mailbox):
        await two_died(gateway, deps)
    [row] = await database.rows(DeadLetter)
    [settled_batch] = await database.rows(Batch)
    await database.add(Batch(id=77, destination="mailbox", first_sequence=2, last_sequence=2))
    orphan = Letter(StoredMessage(1, row.hour, "logs.result.3", 1, b""), 1, "crashed", b"x")
    for batch_id in (settled_batch.id, 77, 99):  # settled, open, not known
        await dead_letters.bury(deps.bus, "mailbox", batch_id, orphan)
    await database.add(Batch(id=78, destination="other", first_sequence=2, last_sequence=2, delivered_at=row.hour))
    await dead_letters.bury(deps.bus, "mailbox", 78, orphan)
    await dead_letters.bury(deps.bus, "mailbox", settled_batch.id, replace(orphan, body=b"y" * PART_BYTES + b"y"))

    assert await sweep_once(deps) == 3
    assert await sweep_once(deps) == 0
    assert await dead_letters.read(deps.bus, row.dead_sequences) is not None
    first = max(row.dead_sequences) + 1
    left = [await dead_letters.read(deps.bus, [sequence]) for sequence in range(first, first + 6)]
    assert left == [None, b"x", b"x", b"x", None, None]


async def test_a_manifest_that_is_no_text_is_buried_and_stops_nobody(gateway, deps, shipping, mailbox, admin):
    await gateway.send_raw(b'{"v":1,"type":"\xff","segments":[]}\n', "1", "status")
    await gateway.send("result", 1)
    async with shipping(deps, mailbox):
        await eventually(lambda: settled(deps, delivered=1, duplicates=0))
        [letter] = (await admin.request(DeadLettersV1())).letters

    assert "manifest makes no sense" in letter.reason
