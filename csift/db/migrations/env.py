"""Alembic's environment: runs on the connection that csift.db.connection passes, inside its transaction."""

from alembic import context

from csift.db import backfill, corpus, feedback, jobs, judging, learning, operations, reviews, serving  # noqa: F401 - registers the tables
from csift.db.base import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
