"""Passwords and tokens in the config: shown as a mask; a mask sent back means "keep what is stored"."""

from __future__ import annotations

from typing import Any

from admin_api.errors import InvalidArgument

MASK = "********"
LISTS = {"jira": ("url", "project_key"), "zendesk": ("url", "group_id")}
"""Integrations with an `api_token`, and what tells two of them apart."""


def mask(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with every stored secret hidden."""
    smtp = document["smtp_settings"]
    integrations = document["integrations"]
    hidden = {name: [_hide(item, "api_token") for item in integrations[name]] for name in LISTS}
    calendars = [_hide(item, "api_key_json") for item in integrations["google_calendar"]]
    return {
        **document,
        "smtp_settings": _hide(smtp, "password"),
        "integrations": {**integrations, **hidden, "google_calendar": calendars},
    }


def unmask(document: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """Return the document with masks replaced by what was stored.

    Raises:
        InvalidArgument: a mask stands where nothing is stored.

    """
    smtp = dict(document["smtp_settings"])
    if smtp["password"] == MASK:
        smtp["password"] = stored["smtp_settings"]["password"]
    integrations = dict(document["integrations"])
    for name, identity in {**LISTS, "google_calendar": ("domain",)}.items():
        secret = "api_key_json" if name == "google_calendar" else "api_token"
        known = {_identity(item, identity): item.get(secret) for item in stored["integrations"][name]}
        integrations[name] = [_restore(item, secret, known, identity, name) for item in integrations[name]]
    return {**document, "smtp_settings": smtp, "integrations": integrations}


def _hide(item: dict[str, Any], secret: str) -> dict[str, Any]:
    value = item.get(secret)
    if isinstance(value, dict):
        return {**item, secret: dict.fromkeys(value, MASK)}
    return {**item, secret: MASK} if value else item


def _identity(item: dict[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(item.get(name)) for name in names)


def _restore(
    item: dict[str, Any], secret: str, known: dict[tuple[str, ...], Any], identity: tuple[str, ...], name: str
) -> dict[str, Any]:
    value = item.get(secret)
    masked = value == MASK or (isinstance(value, dict) and bool(value) and set(map(str, value.values())) == {MASK})
    if not masked:
        return item
    if known.get(_identity(item, identity)) is None:
        raise InvalidArgument(f"integrations.{name}", f"{secret} is masked, but nothing is stored for it")
    return {**item, secret: known[_identity(item, identity)]}
