"""Request bodies: keys matched without regard to case, wrong types refused. `body_gate.py` lets them in."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from fastapi import Body
from pydantic import BaseModel, ConfigDict, model_validator


class ApiBody(BaseModel):
    """A JSON object from a person: unknown keys are ignored, null means absent unless the field can be null.

    Where a misspelt key would do harm, a body has `extra="forbid"` and refuses unknown ones.
    """

    model_config = ConfigDict(strict=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _match_keys(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        names: dict[str, str] = {name.lower(): name for name in cls.model_fields}
        refuses = cls.model_config.get("extra") == "forbid"
        known = ((names.get(key.lower()) or str(key), value) for key, value in data.items())
        found: dict[str, Any] = {name: value for name, value in known if refuses or name in cls.model_fields}
        return {name: value for name, value in found.items() if value is not None or _may_be_null(cls, name)}


def _may_be_null(model: type[BaseModel], name: str) -> bool:
    field = model.model_fields.get(name)
    if field is None:
        return True
    annotation = field.annotation
    return annotation is Any or type(None) in get_args(annotation)


RawObject = Annotated[dict[str, Any], Body()]
"""A JSON object whose members the domain checks itself."""

RawDocument = Annotated[dict[str, Any] | None, Body()]
"""Like `RawObject`, or null."""
