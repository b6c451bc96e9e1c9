"""Alembic migrations: one line of history for all owners."""
