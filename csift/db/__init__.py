"""Postgres: tables by area, the connection, Alembic migrations."""

from csift.db.connection import Database, database, installed_postgres

__all__ = ["Database", "database", "installed_postgres"]
