"""Postgres: tables by area, the connection, Alembic migrations."""

from csift.db.connection import Database, database, embedded_postgres

__all__ = ["Database", "database", "embedded_postgres"]
