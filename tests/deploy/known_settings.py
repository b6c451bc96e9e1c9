"""Which settings each deployable knows, as its own settings classes say."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from flotilla_common.settings import PREFIX, CommonSettings
from log_shipper.declared import settings_of

ROOT = Path(__file__).resolve().parents[2]
CLASSES = {
    "admin-api": ["admin_api.settings.Settings"],
    "agent-gateway": ["agent_gateway.settings.Settings"],
    "analytics-collector": ["analytics.settings.CollectorSettings"],
    "analytics-reporter": ["analytics.settings.ReporterSettings"],
    "config-merger": ["config_merger.settings.Settings"],
    "inventory": ["inventory.settings.Settings"],
    "live-query": ["live_query.settings.Settings"],
    "log-shipper": ["log_shipper.settings.Settings"],
}


def classes_of(deployable: str, environment: dict[str, str]) -> list[type[CommonSettings]]:
    """The settings classes of a deployable; log-shipper has one more for each destination."""
    found = [
        getattr(importlib.import_module(path.rpartition(".")[0]), path.rpartition(".")[2])
        for path in CLASSES[deployable]
    ]
    if deployable == "log-shipper":
        found += [settings_of(kind) for kind in environment["FLOTILLA_DESTINATIONS"].split(",")]
    return found


def setting_of(variable: str, known: set[str]) -> str | None:
    """The setting that a variable sets, by itself or by a file; None when there is no such setting."""
    name = variable.removeprefix(PREFIX).lower()
    return next((one for one in (name, name.removesuffix("_file")) if one in known), None)


def faults(deployable: str, environment: dict[str, str]) -> list[str]:
    """What is wrong with the environment of a deployable: variables that it does not know, settings that it lacks."""
    classes = classes_of(deployable, environment)
    known = {name for one in classes for name in one.model_fields}
    required = {name for one in classes for name, field in one.model_fields.items() if field.is_required()}
    given = {variable: setting_of(variable, known) for variable in of_image(deployable) | environment}
    unknown = [f"unknown: {variable}" for variable in environment if given[variable] is None]
    return unknown + [f"missing: {name}" for name in sorted(required - set(given.values()))]


def of_image(deployable: str) -> dict[str, str]:
    """The FLOTILLA_ variables that the image sets."""
    service = "analytics" if deployable.startswith("analytics-") else deployable
    text = (ROOT / "services" / service / "Dockerfile").read_text(encoding="utf-8")
    return dict(re.findall(rf"({PREFIX}\w+)=(\S+)", text))
