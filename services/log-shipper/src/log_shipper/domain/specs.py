"""A destination's settings: which are secret, what may be shown, and how secrets are kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from flotilla_common.contracts.log_destinations import Destination
from flotilla_common.contracts.secrets_at_rest import log_destination_encryption_key
from flotilla_common.errors import Invalid
from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError

from log_shipper import sinks

MASK = "********"
HARMLESS = frozenset(
    {"bucket", "compression", "format", "index", "layout", "prefix", "source", "sourcetype", "stream", "topic"}
    | {"acknowledge", "acknowledge_seconds", "concurrency", "delivery_seconds", "fill_bytes", "gzip", "most_queries"}
    | {"max_message_bytes", "max_request_bytes", "max_request_lines", "record_bytes", "timeout_seconds"}
    | {"topic_status"}
)
"""Settings that say neither whom a destination speaks to nor how well that is protected; all others may."""
NONCE_BYTES = 12


def checked(spec: Destination) -> Destination:
    """Return a destination whose settings are of its kind's types.

    Raises:
        Invalid: there is no such kind, or its settings are wrong; the text names each.

    """
    try:
        settings = sinks.kind_of(spec.kind).settings.model_validate(spec.settings)
    except KeyError:
        raise Invalid(f"there is no kind {spec.kind!r} of destination; there are {', '.join(sinks.kinds())}") from None
    except ValidationError as error:
        raise Invalid(explained(error, "settings")) from None
    return spec.model_copy(update={"settings": _members(settings)})


def place_of(spec: Destination) -> str | None:
    """Return what a checked destination writes to that no other may share; None when others may."""
    kind = sinks.kind_of(spec.kind)
    return kind.place(kind.settings.model_construct(**spec.settings))


def borrows_identity(spec: Destination) -> bool:
    """Whether a checked destination would sign in somewhere as log-shipper itself."""
    kind = sinks.kind_of(spec.kind)
    return kind.borrows_identity(kind.settings.model_construct(**spec.settings))


def check_identity(spec: Destination, *, roles_by_api: bool) -> Destination:
    """Return a checked destination that the API made or is to make.

    Raises:
        Invalid: it would sign in as log-shipper itself, which whoever runs that has not permitted.

    """
    if borrows_identity(spec) and not roles_by_api:
        message = (
            f"settings: {spec.kind} needs credentials of its own; without them it would use the role that log-shipper "
            "runs under (FLOTILLA_ROLES_BY_API permits that)"
        )
        raise Invalid(message)
    return spec


def explained(error: ValidationError, *inside: str) -> str:
    """Return what is wrong and where, for people; never a value, which may be a secret."""
    items = error.errors(include_input=False)
    return "; ".join(f"{'.'.join([*inside, *map(str, item['loc'])])}: {item['msg']}" for item in items)


def _members(settings: BaseModel) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in type(settings).model_fields}


def shown(spec: Destination) -> dict[str, Any]:
    """Return a checked destination as JSON, each secret replaced by MASK (an empty one stays empty)."""
    dumped = spec.model_copy(update={"settings": {}}).model_dump(mode="json")
    plain = sinks.kind_of(spec.kind).settings.model_construct(**spec.settings).model_dump(mode="json")
    masks = {name: MASK if revealed else "" for name, revealed in _secrets(spec).items()}
    return dumped | {"settings": plain | masks}


def sealed(spec: Destination, key: bytes) -> bytes | None:
    """Return a checked destination's secrets, encrypted under its name; None when it has none."""
    secrets = _secrets(spec)
    if not any(secrets.values()):
        return None
    nonce = os.urandom(NONCE_BYTES)
    cipher = AESGCM(log_destination_encryption_key(key))
    return nonce + cipher.encrypt(nonce, msgspec.json.encode(secrets), spec.name.encode())


def restored(shown_spec: Mapping[str, Any], secrets: bytes | None, key: bytes | None) -> Destination:
    """Return the destination that was shown and sealed.

    Raises:
        Invalid: the secrets cannot be read with this key, or the kind knows its settings no more.

    """
    spec = Destination.model_validate(shown_spec)
    if secrets is None:
        return checked(spec)
    if key is None:
        raise Invalid(f"{spec.name}: its secrets cannot be read: FLOTILLA_SECRETS_KEY is not set")
    cipher = AESGCM(log_destination_encryption_key(key))
    try:
        plain = cipher.decrypt(secrets[:NONCE_BYTES], secrets[NONCE_BYTES:], spec.name.encode())
    except InvalidTag:
        message = f"{spec.name}: its secrets were written with another FLOTILLA_SECRETS_KEY; set them again"
        raise Invalid(message) from None
    return checked(spec.model_copy(update={"settings": spec.settings | msgspec.json.decode(plain)}))


def with_kept_secrets(spec: Destination, before: Destination) -> Destination:
    """Return a destination as a person sent it, checked; its masked secrets are those that it had before.

    Raises:
        Invalid: it is wrong. Or it would send a kept secret elsewhere than whoever gave it meant.

    """
    old = _secrets(before)
    if spec.kind != before.kind and MASK in spec.settings.values():
        raise Invalid("kind: another kind needs secrets of its own")
    kept = {name: old[name] for name, value in spec.settings.items() if value == MASK and name in old}
    found = checked(spec.model_copy(update={"settings": spec.settings | kept}))
    moved = [name for name in says_where(found.kind) if found.settings.get(name) != before.settings.get(name)]
    if moved and any(kept.values()):
        raise Invalid(f"settings.{moved[0]} changes where secrets go: give {', '.join(sorted(kept))} again")
    return found


def says_where(kind: str) -> list[str]:
    """Return the settings of a kind that may say to whom its secrets are sent: those that are not known for less."""
    fields = sinks.kind_of(kind).settings.model_fields.items()
    return [name for name, field in fields if name not in HARMLESS and field.annotation is not SecretStr]


def _secrets(spec: Destination) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in spec.settings.items():
        if isinstance(value, SecretStr):
            found[name] = value.get_secret_value()
        elif isinstance(value, SecretBytes):
            raise TypeError(f"{spec.kind}.{name}: secrets of destinations are text")
    return found
