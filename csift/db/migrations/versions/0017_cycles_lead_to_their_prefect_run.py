"""Cycles lead to their Prefect run."""

import sqlalchemy as sa
from alembic import op

revision = '0017'
down_revision = '0016'


def upgrade() -> None:
    op.add_column('cycles', sa.Column('run_url', sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column('cycles', 'run_url')
