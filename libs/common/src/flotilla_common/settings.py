"""Settings come from the environment (prefix FLOTILLA_), secrets also from files, and are checked once at start.

For every setting NAME, `FLOTILLA_NAME_FILE` may name a file whose stripped content is the value: the way container
platforms hand out secrets. Both given is an error.
"""

from __future__ import annotations

import base64
import binascii
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "FLOTILLA_"
KEY_BYTES = 32


class SettingsError(Exception):
    """The settings cannot be used; the text says which ones and why, ready to be shown."""


def key_bytes(key: SecretStr) -> bytes:
    """Return the bytes of a key of secrets at rest.

    Raises:
        ValueError: it is not base64, or has another length.

    """
    try:
        found = base64.b64decode(key.get_secret_value(), validate=True)
    except binascii.Error:
        found = b""
    if len(found) != KEY_BYTES:
        message = f"must be {KEY_BYTES} bytes in base64, e.g. of: openssl rand -base64 {KEY_BYTES}"
        raise ValueError(message)
    return found


def _checked(key: SecretStr) -> SecretStr:
    key_bytes(key)
    return key


SecretsKey = Annotated[SecretStr, AfterValidator(_checked)]
"""A setting whose `key_bytes` are a key of secrets at rest."""


class _FileVariants(PydanticBaseSettingsSource):
    """Reads `FLOTILLA_<NAME>_FILE` for every declared setting."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        del field
        variable = f"{PREFIX}{field_name.upper()}_FILE"
        path = os.environ.get(variable)
        if path is None:
            return None, field_name, False
        if f"{PREFIX}{field_name.upper()}" in os.environ:
            message = f"{PREFIX}{field_name.upper()} and {variable} are both set; keep one"
            raise SettingsError(message)
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            message = f"{variable}: cannot read {path}: {error}"
            raise SettingsError(message) from error

    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


class CommonSettings(BaseSettings):
    """What every service needs. Each field's description is shown when it is missing or wrong."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    nats_url: str = Field(description="NATS servers, comma separated, e.g. nats://127.0.0.1:4222")
    nats_user: str = Field(description="this service's NATS user")
    nats_password: SecretStr = Field(description="the NATS user's password")
    health_host: str = Field("127.0.0.1", description="address of /healthz, /readyz and /metrics")
    health_port: int = Field(description="port of /healthz, /readyz and /metrics", ge=0, le=65535)
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe level logged")
    otlp_endpoint: str = Field("", description="OTLP/HTTP endpoint for traces; empty: no export")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first (tests), then the environment, then the `_FILE` variants."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, _FileVariants(settings_cls)


class DatabaseSettings(CommonSettings):
    """For services that own tables."""

    database_url: SecretStr = Field(description="postgresql+psycopg://role:password@host:port/database")
    database_pool_size: int = Field(10, description="connections kept to Postgres", ge=1)


S = TypeVar("S", bound=CommonSettings)


def load(settings_class: type[S]) -> S:
    """Read the settings of this process.

    Raises:
        SettingsError: something is missing or wrong; one line per setting.

    """
    try:
        return settings_class()
    except ValidationError as error:
        lines = [_explain(settings_class, item["loc"], item["msg"]) for item in error.errors()]
        message = "settings are missing or wrong:\n" + "\n".join(lines)
        raise SettingsError(message) from None


def load_or_exit(settings_class: type[S]) -> S:
    """Like `load`, but print the message and leave with status 2: for `__main__`."""
    try:
        return load(settings_class)
    except SettingsError as error:
        sys.stderr.write(f"{settings_class.__module__.partition('.')[0]}: {error}\n")
        raise SystemExit(2) from None


def _explain(settings_class: type[CommonSettings], location: tuple[int | str, ...], text: str) -> str:
    name = str(location[0]) if location else "?"
    field = settings_class.model_fields.get(name)
    meaning = f" ({field.description})" if field is not None and field.description else ""
    return f"  {PREFIX}{name.upper()}: {text}{meaning}"
