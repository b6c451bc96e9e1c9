"""log_shipper.{destinations,put_destination,remove_destination,pause_destination,try_destination}.v1: configuration.

Those that the environment or the file declares can be paused and tested here; to change them, change where they stand.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

from flotilla_common.bus.answering import Responder
from flotilla_common.clock import utc_now
from flotilla_common.contracts.log_destinations import (
    Destination,
    DestinationAnsweredV1,
    DestinationsAnsweredV1,
    DestinationState,
    DestinationsV1,
    DestinationTriedV1,
    PauseDestinationV1,
    PutDestinationV1,
    RemoveDestinationV1,
    TryDestinationV1,
)
from flotilla_common.db.models.log_shipper import Destination as Row
from flotilla_common.errors import Conflict, FleetError, Invalid, NotFound
from pydantic import SecretStr, ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from log_shipper import sinks
from log_shipper.deps import Deps
from log_shipper.domain.specs import check_identity, checked, explained, restored, sealed, shown, with_kept_secrets
from log_shipper.store import dead_letters, destinations, leases, replays
from log_shipper.store.spans import begin_of, kept

TRY_SECONDS = 15.0
LATE = timedelta(seconds=3 * destinations.DECLARE_SECONDS)
WHERE = {"environment": "FLOTILLA_DESTINATIONS", "file": "FLOTILLA_DESTINATIONS_CONFIG"}
TRY_LINE = b'{"name":"flotilla_destination_test","action":"test","columns":{},"calendarTime":"%s"}'


async def show_all(request: DestinationsV1, deps: Deps) -> DestinationsAnsweredV1:
    """Return all destinations that are not taken away, and the kinds."""
    del request
    async with deps.sessions.begin() as session:
        rows = await destinations.all_rows(session)
    schemas = {name: sinks.kind_of(name).settings.model_json_schema() for name in sinks.kinds()}
    return DestinationsAnsweredV1(
        destinations=tuple(state_of(row) for row in rows if row.until_sequence is None), kinds=schemas
    )


async def put(request: PutDestinationV1, deps: Deps) -> DestinationAnsweredV1:
    """Make or change a destination."""
    spec = _spec_of(request.document)
    async with deps.sessions.begin() as session:
        if request.begin is not None:
            await leases.take_turns(session, leases.THROWING_AWAY)
        row = await destinations.find(session, spec.name)
        if request.is_new and row is not None:
            raise Conflict(f"there is a destination {spec.name} already")
        if not request.is_new:
            before = _own(row, spec.name)
            if request.revision is not None and request.revision != before.revision:
                raise Conflict(f"{spec.name} was changed meanwhile; look at it again")
            spec = with_kept_secrets(spec, restored(before.spec, before.secrets, deps.secrets_key))
        await destinations.put(session, _row_of(_permitted(spec, deps), deps))
        if request.begin is not None:
            await _begin(session, deps, request, spec.name)
        return await _shown(session, spec.name)


async def _begin(session: AsyncSession, deps: Deps, request: PutDestinationV1, name: str) -> None:
    """Have a new destination begin where it is wanted, with all that is kept from there on."""
    if not request.is_new or request.begin is None:
        raise Invalid("begin: only a new destination begins somewhere; replay to one that is there")
    here = await kept(session, deps.bus)
    first, _ = await begin_of(deps.bus, here, request.begin)
    await destinations.begin_at(session, name, first - 1, here.stream.created_at)


async def remove(request: RemoveDestinationV1, deps: Deps) -> DestinationAnsweredV1:
    """Take a destination away."""
    async with deps.sessions.begin() as session:
        _own(await destinations.find(session, request.name), request.name)
        answer = await _shown(session, request.name)
        await destinations.take_away(session, request.name)
        await replays.end_all_of(session, request.name)
        await dead_letters.ask_no_more(session, request.name)
    return answer


async def pause(request: PauseDestinationV1, deps: Deps) -> DestinationAnsweredV1:
    """Pause a destination or let it go on; repeating it changes nothing."""
    async with deps.sessions.begin() as session:
        row = _there(await destinations.find(session, request.name), request.name)
        if request.is_paused != (row.paused_at is not None):
            row.paused_at = utc_now() if request.is_paused else None
        await session.flush()
        return await _shown(session, request.name)


async def try_out(request: TryDestinationV1, deps: Deps) -> DestinationTriedV1:
    """Send one line, with settings that are kept or with some that are not yet."""
    spec = await _to_try(request, deps)
    sink = sinks.kind_of(spec.kind).open(spec.settings)
    began = time.monotonic()
    error = place = ""
    try:
        async with asyncio.timeout(TRY_SECONDS):
            place = await sink.try_out(TRY_LINE % utc_now().isoformat(timespec="seconds").encode())
    except TimeoutError:
        error = f"no answer came within {TRY_SECONDS:g} s"
    except FleetError as problem:
        error = str(problem)
    finally:
        await sink.close()
    return DestinationTriedV1(error=error, place=place, milliseconds=int((time.monotonic() - began) * 1000))


async def _to_try(request: TryDestinationV1, deps: Deps) -> Destination:
    async with deps.sessions.begin() as session:
        if request.document is None:
            row = _there(await destinations.find(session, request.name), request.name)
            if row.origin != "api":
                return _declared(row, deps)
            found = restored(row.spec, row.secrets, deps.secrets_key)
            return check_identity(found, roles_by_api=deps.roles_by_api)
        spec = _spec_of(request.document)
        before = await destinations.find(session, spec.name)
    if before is not None and before.origin == "api":
        spec = with_kept_secrets(spec, restored(before.spec, before.secrets, deps.secrets_key))
    return _permitted(spec, deps)


def _declared(row: Row, deps: Deps) -> Destination:
    """Return a declared destination with its secrets, which are nowhere but where it is declared."""
    spec = deps.declared.get(row.name)
    if spec is None:
        raise Conflict(
            f"{row.name} is declared by {WHERE[row.origin]} of another log-shipper than was asked: try again"
        )
    return spec


def _spec_of(document: SecretStr) -> Destination:
    try:
        return Destination.model_validate_json(document.get_secret_value())
    except ValidationError as error:
        raise Invalid(explained(error)) from None


def _permitted(spec: Destination, deps: Deps) -> Destination:
    """Return a checked destination. Refuses what only whoever runs log-shipper may say."""
    if spec.kind in sinks.kinds() and sinks.kind_of(spec.kind).is_local:
        message = f"kind: {spec.kind} writes where log-shipper runs; declare it there, in FLOTILLA_DESTINATIONS_CONFIG"
        raise Invalid(message)
    return check_identity(checked(spec), roles_by_api=deps.roles_by_api)


def _row_of(spec: Destination, deps: Deps) -> Row:
    found = shown(spec)
    if deps.secrets_key is None:
        if any(isinstance(value, SecretStr) and value.get_secret_value() for value in spec.settings.values()):
            raise Invalid("secrets cannot be kept: set FLOTILLA_SECRETS_KEY of log-shipper")
        return Row(name=spec.name, kind=spec.kind, origin="api", spec=found)
    return Row(name=spec.name, kind=spec.kind, origin="api", spec=found, secrets=sealed(spec, deps.secrets_key))


def _there(row: Row | None, name: str) -> Row:
    if row is None:
        raise NotFound(f"there is no destination {name}")
    return row


def _own(row: Row | None, name: str) -> Row:
    """Return a destination that can be changed here."""
    found = _there(row, name)
    if found.origin != "api":
        raise Conflict(f"{name} is declared by {WHERE[found.origin]} of log-shipper: change it there")
    return found


async def _shown(session: AsyncSession, name: str) -> DestinationAnsweredV1:
    return DestinationAnsweredV1(destination=state_of(_there(await destinations.find(session, name), name)))


def state_of(row: Row) -> DestinationState:
    """Return what people see of a row."""
    return DestinationState(
        name=row.name,
        kind=row.kind,
        origin=row.origin,
        spec=row.spec,
        revision=row.revision,
        created_at=row.created_at,
        paused_at=row.paused_at,
        failing_since=row.failing_since,
        last_error=row.last_error,
        is_undeclared=row.declared_at is not None and utc_now() - row.declared_at > LATE,
    )


RESPONDERS: tuple[Responder[Any, Deps], ...] = (
    Responder(DestinationsV1, show_all, concurrency=4),
    Responder(PutDestinationV1, put, concurrency=4),
    Responder(RemoveDestinationV1, remove, concurrency=4),
    Responder(PauseDestinationV1, pause, concurrency=4),
    Responder(TryDestinationV1, try_out, concurrency=4),
)
