"""Destinations with their cursors, and the cursor of the intake. `log_shipper.destinations`, `log_shipper.intake`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flotilla_common.db.models.log_shipper import Destination, Intake
from flotilla_common.errors import Conflict, LeaseLost
from sqlalchemy import case, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from log_shipper.errors import MadeByApi
from log_shipper.store import batches

DECLARE_SECONDS = 5.0  # from one time that a replica says what it declares to the next


async def all_rows(session: AsyncSession) -> Sequence[Destination]:
    """Return all destinations, by name; those that are taken away too."""
    return (await session.execute(select(Destination).order_by(col(Destination.name)))).scalars().all()


async def find(session: AsyncSession, name: str) -> Destination | None:
    """Return a destination, locked; None when there is none, or it was taken away."""
    found = await session.execute(
        select(Destination)
        .where(col(Destination.name) == name, col(Destination.until_sequence).is_(None))
        .with_for_update()
    )
    return found.scalar_one_or_none()


async def put(session: AsyncSession, row: Destination) -> None:
    """Add a destination, or change one: its kind, origin, spec and secrets. One that was taken away comes back.

    A new destination begins where the intake stands, so that its `received` counts exactly what it will see: from the
    first line in a new installation, from now on in an older one. So does one that comes back.

    Raises:
        Conflict: it is being taken away, and its books are not closed yet.
        MadeByApi: it is declared, and the API made one of this name.

    """
    intake = await intake_place(session)
    name = row.name
    found = (
        await session.execute(select(Destination).where(col(Destination.name) == name).with_for_update())
    ).scalar_one_or_none()
    if found is None:
        row.cursor_sequence = intake.cursor_sequence
        session.add(row)
        await session.flush()
        return
    if found.until_sequence is not None:
        if found.cursor_sequence < found.until_sequence:
            raise Conflict(f"{name} is being taken away; try again in a moment")
        _bring_back(found, intake)
    elif found.origin == "api" != row.origin:
        raise MadeByApi(f"the API made a destination {name}: take that away, or give this one another name")
    elif (found.kind, found.origin, found.spec, found.secrets) == (row.kind, row.origin, row.spec, row.secrets):
        return
    found.kind, found.origin, found.spec, found.secrets = row.kind, row.origin, row.spec, row.secrets
    found.revision += 1
    await session.flush()


def _bring_back(row: Destination, intake: Intake) -> None:
    """Have a destination that was taken away go on from where the intake stands."""
    if intake.stream_created_at in {None, row.stream_created_at}:
        row.cursor_sequence = max(intake.cursor_sequence, row.cursor_sequence)
    else:  # the numbers that it stopped at are of an earlier stream
        row.cursor_sequence, row.counted_from = intake.cursor_sequence, 0
        row.stream_created_at = intake.stream_created_at
    row.until_sequence = row.paused_at = row.cursor_stored_at = None


async def begin_at(session: AsyncSession, name: str, cursor: int, stream_created_at: datetime) -> None:
    """Have a new destination begin further back: what the intake has counted before is counted as it goes."""
    intake = await lock_intake(session)
    await session.execute(
        update(Destination)
        .where(col(Destination.name) == name)
        .values(
            cursor_sequence=func.least(cursor, col(Destination.cursor_sequence)),
            cursor_stored_at=None,
            counted_from=intake,
            stream_created_at=stream_created_at,
        )
    )


async def declare(session: AsyncSession, names: Iterable[str], undeclared: timedelta) -> Sequence[str]:
    """Say what a replica declares; return the names of those that no replica has declared for so long."""
    mine = col(Destination.name).in_(list(names))
    await session.execute(update(Destination).where(mine).values(declared_at=func.now()))
    found = await session.execute(
        select(col(Destination.name)).where(
            col(Destination.origin) != "api",
            col(Destination.until_sequence).is_(None),
            ~mine,
            or_(col(Destination.declared_at).is_(None), col(Destination.declared_at) < func.now() - undeclared),
        )
    )
    return found.scalars().all()


async def take_away(session: AsyncSession, name: str) -> None:
    """Mark a destination as taken away: it gets no line that comes after this moment, nor one it lacks.

    A batch that is being delivered belongs to what it had: its lines may be there already.
    """
    intake = await lock_intake(session)
    await session.execute(select(col(Destination.name)).where(col(Destination.name) == name).with_for_update())
    recorded = await batches.unsettled(session, name)
    begun = recorded.last_sequence if recorded is not None and recorded.source == "live" else 0
    await session.execute(
        update(Destination)
        .where(col(Destination.name) == name, col(Destination.until_sequence).is_(None))
        .values(
            until_sequence=func.greatest(col(Destination.cursor_sequence), intake, begun),
            failing_since=None,
            last_error="",
            revision=col(Destination.revision) + 1,
        )
    )


async def note_failure(session: AsyncSession, name: str, error: str) -> None:
    """Say that deliveries fail, and why."""
    await session.execute(
        update(Destination)
        .where(col(Destination.name) == name)
        .values(failing_since=func.coalesce(col(Destination.failing_since), func.now()), last_error=error)
    )


async def note_success(session: AsyncSession, name: str) -> None:
    """Say that deliveries do not fail any more."""
    await session.execute(
        update(Destination)
        .where(col(Destination.name) == name, col(Destination.failing_since).is_not(None))
        .values(failing_since=None, last_error="")
    )


async def lock_intake(session: AsyncSession) -> int:
    """Return the intake's cursor and keep it from moving until the transaction ends."""
    await session.execute(insert(Intake).values(id=1).on_conflict_do_nothing())
    found = await session.execute(select(col(Intake.cursor_sequence)).with_for_update())
    return found.scalar_one()


async def place(session: AsyncSession, name: str) -> Destination:
    """Lock a destination; return it, with its cursor and when the stream that this is about was made."""
    found = await session.execute(select(Destination).where(col(Destination.name) == name).with_for_update())
    return found.scalar_one()


async def place_anew(session: AsyncSession, name: str, sequence: int, stream_created_at: datetime) -> None:
    """Set a destination's cursor and the stream that it is about."""
    await session.execute(
        update(Destination)
        .where(col(Destination.name) == name)
        .values(
            cursor_sequence=sequence,
            cursor_stored_at=None,
            stream_created_at=stream_created_at,
            counted_from=case((col(Destination.stream_created_at).is_(None), col(Destination.counted_from)), else_=0),
            updated_at=func.now(),
        )
    )


async def intake_place(session: AsyncSession) -> Intake:
    """Lock the intake; return it, with its cursor and when the stream that this is about was made."""
    await lock_intake(session)
    return (await session.execute(select(Intake))).scalar_one()


async def place_intake_anew(session: AsyncSession, sequence: int, stream_created_at: datetime) -> None:
    """Set the intake's cursor and the stream that it is about."""
    await session.execute(
        update(Intake).values(
            cursor_sequence=sequence,
            cursor_stored_at=None,
            stream_created_at=stream_created_at,
            updated_at=func.now(),
        )
    )


async def move_intake(session: AsyncSession, sequence: int, stored_at: datetime) -> None:
    """Set the intake's cursor, and when the message there was stored."""
    values = {"cursor_sequence": sequence, "cursor_stored_at": stored_at, "updated_at": func.now()}
    await session.execute(update(Intake).values(**values))


async def intake(session: AsyncSession) -> int:
    """Return the intake's cursor."""
    return (await intake_mark(session))[0]


async def intake_mark(session: AsyncSession) -> tuple[int, datetime | None]:
    """Return the intake's cursor and when the stream that it is about was made (None: the first one it will see)."""
    row = (await session.execute(select(col(Intake.cursor_sequence), col(Intake.stream_created_at)))).one_or_none()
    return (0, None) if row is None else (row[0], row[1])


@dataclass(frozen=True)
class Place:
    """How far a destination is, and after which sequence nothing is for it (None: everything is).

    `counted_from`: the intake has not counted messages up to here. `stream_created_at`: of the stream that this is
    about (None: of the first one it will see).
    """

    cursor: int
    until: int | None = None
    counted_from: int = 0
    stream_created_at: datetime | None = None

    def lacks(self, sequence: int) -> bool:
        """Whether this message is still to be settled for it."""
        return sequence > self.cursor and self.is_for(sequence)

    def is_for(self, sequence: int) -> bool:
        """Whether this message is or was for it, as far as its end says."""
        return self.until is None or sequence <= self.until

    def is_uncounted(self, sequence: int, intake: int) -> bool:
        """Whether this message, that is for it, is not among what it received yet."""
        return sequence > intake or self.cursor < sequence <= self.counted_from

    @property
    def is_finished(self) -> bool:
        """Whether it was taken away and its books are closed."""
        return self.until is not None and self.cursor >= self.until

    def is_over_in(self, stream: datetime | None) -> bool:
        """Whether its books were closed before this stream was made: its numbers mean others there."""
        return self.is_finished and None not in {stream, self.stream_created_at} and self.stream_created_at != stream


async def places(session: AsyncSession) -> dict[str, Place]:
    """Return destination -> its place."""
    columns = (
        col(Destination.name),
        col(Destination.cursor_sequence),
        col(Destination.until_sequence),
        col(Destination.counted_from),
        col(Destination.stream_created_at),
    )
    return {row[0]: Place(row[1], row[2], row[3], row[4]) for row in await session.execute(select(*columns))}


async def lock(
    session: AsyncSession, name: str, expected_cursor: int, until: int | None = None, *, settles: int | None = None
) -> Destination:
    """Lock a destination whose cursor must stand at `expected_cursor`, and that must end at `until`.

    Whoever `settles` what was delivered up to a sequence may do so when it was taken away meanwhile, behind that.

    Raises:
        LeaseLost: it stands elsewhere: another replica settled what this one was about to. Or it was taken away, or
            came back.

    """
    found = await session.execute(select(Destination).where(col(Destination.name) == name).with_for_update())
    row = found.scalar_one()
    if row.cursor_sequence != expected_cursor:
        raise LeaseLost(f"{name}: the cursor stands at {row.cursor_sequence}, not at {expected_cursor}")
    end = row.until_sequence
    is_behind = until is None and end is not None and settles is not None and settles <= end
    if end != until and not is_behind:
        raise LeaseLost(f"{name}: it was taken away or came back")
    return row


async def move(session: AsyncSession, name: str, sequence: int, stored_at: datetime | None = None) -> None:
    """Set a destination's cursor, and when the message there was stored (None: it is gone)."""
    await session.execute(
        update(Destination)
        .where(col(Destination.name) == name)
        .values(cursor_sequence=sequence, cursor_stored_at=stored_at, updated_at=func.now())
    )
