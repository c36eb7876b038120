"""Postgres: tables by area, the connection, Alembic migrations."""

from csift.db.connection import Database, database

__all__ = ["Database", "database"]
