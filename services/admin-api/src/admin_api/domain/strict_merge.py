"""Merging what people send into a stored document whose shape is a strict model."""

from __future__ import annotations

import types
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from admin_api.domain.json_types import name_of
from admin_api.errors import StrictBodyError

M = TypeVar("M", bound=BaseModel)
EXPECTED = {
    "bool_type": "bool",
    "string_type": "string",
    "int_type": "int",
    "float_type": "number",
    "list_type": "array",
    "dict_type": "object",
    "model_type": "object",
    "model_attributes_type": "object",
}


def merged(model: type[M], stored: dict[str, Any], patch: dict[str, Any]) -> M:
    """Return the stored document with the patch merged in: objects key by key, everything else replaced.

    A null for something that cannot be null changes nothing. Keys match without regard to case.

    Raises:
        StrictBodyError: an unknown key anywhere, or a value of a wrong type.

    """
    return parsed(model, merge(stored, _canonical(model, patch)))


def parsed(model: type[M], document: object) -> M:
    """Read a document.

    Raises:
        StrictBodyError: see `merged`.

    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise StrictBodyError(_complaint(error)) from error


def read(model: type[M], document: dict[str, Any]) -> M:
    """Read what people sent; keys match without regard to case, null for what cannot be null counts as absent.

    Raises:
        StrictBodyError: see `merged`.

    """
    return parsed(model, _canonical(model, document))


def _complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f'unsupported key provided: "{first["loc"][-1]}"'
    expected = EXPECTED.get(first["type"])
    if expected is None:
        return f"invalid value at '{path}': {first['msg']}"
    return f"invalid value type at '{path}': expected {expected} but got {name_of(first['input'])}"


def merge(stored: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Return a document with a patch merged in: objects key by key, everything else replaced. No shape is known."""
    result = dict(stored)
    for key, value in patch.items():
        present = result.get(key)
        both = isinstance(present, dict) and isinstance(value, dict)
        result[key] = merge(present, value) if both and present is not None else value
    return result


def _canonical(model: type[BaseModel], patch: dict[str, Any]) -> dict[str, Any]:
    names = {name.lower(): name for name in model.model_fields}
    result: dict[str, Any] = {}
    for key, value in patch.items():
        name = names.get(key.lower(), key)
        field = model.model_fields.get(name)
        if field is None:
            result[key] = value
        elif value is None and not _may_be_null(field.annotation):
            continue
        elif isinstance(value, dict) and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            result[name] = _canonical(field.annotation, value)
        else:
            result[name] = value
    return result


def known(model: type[BaseModel], document: object) -> object:
    """Return what people sent without the keys that the model does not have, for bodies that may have more."""
    if not isinstance(document, dict):
        return document
    result: dict[str, Any] = {}
    for key, value in _canonical(model, document).items():
        field = model.model_fields.get(key)
        if field is not None:
            inner = _model_in(field.annotation)
            result[key] = value if inner is None else _each(inner, value)
    return result


def _each(model: type[BaseModel], value: object) -> object:
    return [known(model, item) for item in value] if isinstance(value, list) else known(model, value)


def _model_in(annotation: object) -> type[BaseModel] | None:
    """Return the model that a field holds: itself, as a list of it, or either with None beside it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(part) for part in get_args(annotation))
    return next((model for model in inner if model is not None), None)


def _may_be_null(annotation: object) -> bool:
    if annotation is Any:
        return True
    return get_origin(annotation) in {Union, types.UnionType} and type(None) in get_args(annotation)
