"""Passwords and tokens in the config: shown as a mask; a mask sent back means "keep what is stored"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from admin_api.errors import InvalidArgument

MASK = "********"


@dataclass(frozen=True)
class Kept:
    """An integration's secret: the key it stands under, and the keys that tell two integrations of a kind apart."""

    secret: str
    identity: tuple[str, ...] = ()


INTEGRATIONS = {
    "jira": Kept("api_token", ("url", "project_key")),
    "zendesk": Kept("api_token", ("url", "group_id")),
    "google_calendar": Kept("api_key_json", ("domain",)),
    "digicert": Kept("api_token", ("name",)),
    "ndes_scep_proxy": Kept("password"),
    "custom_scep_proxy": Kept("challenge", ("name",)),
}
"""Each is a list of objects, one object, or null. Their keys are people's own, so case does not matter here either."""


def mask(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with every stored secret hidden."""
    integrations = dict(document["integrations"])
    for name, kept in INTEGRATIONS.items():
        hidden = [_hide(item, kept.secret) for item in _items(integrations[name])]
        integrations[name] = _in_shape(integrations[name], hidden)
    smtp = _hide(document["smtp_settings"], "password")
    return {**document, "smtp_settings": smtp, "integrations": integrations}


def unmask(document: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """Return the document with masks replaced by what was stored.

    Raises:
        InvalidArgument: a mask stands where nothing is stored.

    """
    smtp = dict(document["smtp_settings"])
    if smtp["password"] == MASK:
        smtp["password"] = stored["smtp_settings"]["password"]
    integrations = dict(document["integrations"])
    for name, kept in INTEGRATIONS.items():
        known = {_identity(item, kept): _secrets(item, kept.secret) for item in _items(stored["integrations"][name])}
        shown = [
            _restore(item, known.get(_identity(item, kept), {}), kept, name) for item in _items(integrations[name])
        ]
        integrations[name] = _in_shape(integrations[name], shown)
    return {**document, "smtp_settings": smtp, "integrations": integrations}


def _items(value: Any) -> list[dict[str, Any]]:
    return [value] if isinstance(value, dict) else value or []


def _in_shape(before: Any, items: list[dict[str, Any]]) -> Any:
    if isinstance(before, dict):
        return items[0]
    return None if before is None else items


def _secrets(item: dict[str, Any], secret: str) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key.lower() == secret}


def _hide(item: dict[str, Any], secret: str) -> dict[str, Any]:
    return {**item, **{key: _masked(value) for key, value in _secrets(item, secret).items() if value}}


def _masked(value: Any) -> Any:
    return dict.fromkeys(value, MASK) if isinstance(value, dict) else MASK


def _is_masked(value: Any) -> bool:
    return value == MASK or (isinstance(value, dict) and bool(value) and all(part == MASK for part in value.values()))


def _identity(item: dict[str, Any], kept: Kept) -> tuple[str, ...]:
    values = {key.lower(): str(value) for key, value in item.items()}
    return tuple(values.get(name, "") for name in kept.identity)


def _restore(item: dict[str, Any], known: dict[str, Any], kept: Kept, name: str) -> dict[str, Any]:
    masked = [key for key, value in _secrets(item, kept.secret).items() if _is_masked(value)]
    stored = {key: known.get(key, next(iter(known.values()), None)) for key in masked}
    if None in stored.values():
        raise InvalidArgument(f"integrations.{name}", f"{kept.secret} is masked, but nothing is stored for it")
    return {**item, **stored}
