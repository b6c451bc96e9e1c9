"""Answer orbit's `enroll`."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import msgspec
from flotilla_common.contracts.hosts import BadEnrollSecret, EnrollOrbitV1, OrbitEnrolledV1
from pydantic import SecretStr

from agent_gateway.domain.enroll_body import IDENTIFIER_LIMIT, SECRET_LIMIT
from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.json_bodies import as_text
from agent_gateway.errors import Malformed


class OrbitEnrollBody(msgspec.Struct):
    """All members as they come; older orbits leave some out."""

    enroll_secret: Any = None
    hardware_uuid: Any = None
    osquery_identifier: Any = None
    hardware_serial: Any = None
    hardware_model: Any = None
    hostname: Any = None
    computer_name: Any = None
    platform: Any = None


decoder = msgspec.json.Decoder(OrbitEnrollBody)


async def answer_orbit_enroll(gateway: Gateway, body: bytes, remote_address: str) -> bytes:
    """Trade an enroll secret for an orbit key. It is in the cache already when it is answered."""
    gateway.check_bus()
    request = orbit_enroll_request(await gateway.read_small(decoder, body), remote_address)

    def ask(waited_seconds: float) -> Awaitable[OrbitEnrolledV1]:
        return gateway.orbit.ask(request.model_copy(update={"waited_seconds": waited_seconds}))

    enrolled = await gateway.enrollments.in_turn("enroll_orbit", request.enroll_secret, ask)
    gateway.orbit.hosts.put(enrolled.host)
    gateway.hosts.put(enrolled.host)
    return msgspec.json.encode({"orbit_node_key": enrolled.orbit_node_key.get_secret_value()})


def orbit_enroll_request(sent: OrbitEnrollBody, remote_address: str) -> EnrollOrbitV1:
    """Return the request to inventory.

    Raises:
        Malformed: there is no `hardware_uuid` in it.
        BadEnrollSecret: there is none, or none that could be one.

    """
    hardware_uuid = _text(sent.hardware_uuid)
    if not hardware_uuid:
        raise Malformed("hardware_uuid is missing or empty")
    secret = sent.enroll_secret
    if not isinstance(secret, str) or not secret or len(secret) > SECRET_LIMIT or "\0" in secret:
        raise BadEnrollSecret
    return EnrollOrbitV1(
        enroll_secret=SecretStr(secret),
        hardware_uuid=hardware_uuid,
        osquery_identifier=_text(sent.osquery_identifier),
        hardware_serial=_text(sent.hardware_serial),
        hardware_model=_text(sent.hardware_model),
        hostname=_text(sent.hostname),
        computer_name=_text(sent.computer_name),
        platform=_text(sent.platform),
        remote_address=remote_address,
    )


def _text(value: Any) -> str:
    """Return text without NULs, of bounded length; whatever is no scalar is empty."""
    return (as_text(value) or "").replace("\0", "").strip()[:IDENTIFIER_LIMIT]
