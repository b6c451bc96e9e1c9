"""Alembic's environment: runs on the connection that `migrate` hands over, comparing all owners' schemas."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text
from sqlmodel import SQLModel

import flotilla_common.db.models as _models  # fills the metadata

__all__: list[str] = []
_ = _models

connection = context.config.attributes["connection"]
connection.execute(text("SET lock_timeout = '5s'"))
schemas = {table.schema for table in SQLModel.metadata.tables.values()}
only: str | None = context.config.attributes.get("only_schema")


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Compare the owners' schemas alone."""
    return kind != "schema" or name in ({only} if only else schemas)


def include_object(thing: object, _name: str | None, kind: str, _reflected: bool, _compared: object) -> bool:
    """Leave other schemas out when one is asked for."""
    return not (only and kind == "table" and getattr(thing, "schema", None) != only)


context.configure(
    connection=connection,
    target_metadata=SQLModel.metadata,
    include_schemas=True,
    include_name=include_name,
    include_object=include_object,
    compare_type=True,
    compare_server_default=False,
    version_table_schema="public",
)
with context.begin_transaction():
    context.run_migrations()
