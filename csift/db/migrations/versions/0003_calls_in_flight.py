"""Calls are written before they are made; what a cycle has spent is one figure."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0003'
down_revision = '0002'


def upgrade() -> None:
    op.drop_constraint('pk_calls', 'calls')
    op.add_column('calls', sa.Column('id', sa.BigInteger(), sa.Identity(), nullable=False))
    op.create_primary_key('pk_calls', 'calls', ['id'])
    op.create_index(op.f('ix_calls_key'), 'calls', ['key'], unique=False)
    op.alter_column('calls', 'response', existing_type=postgresql.JSONB(astext_type=sa.Text()), nullable=True)
    op.alter_column('calls', 'cost_usd', existing_type=sa.Float(), nullable=True)
    op.create_table('spending',
    sa.Column('cycle_id', sa.String(), nullable=False),
    sa.Column('tokens', sa.BigInteger(), nullable=False),
    sa.Column('usd', sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint('cycle_id', name=op.f('pk_spending'))
    )


def downgrade() -> None:
    op.drop_table('spending')
    op.execute("DELETE FROM calls WHERE response IS NULL OR id NOT IN (SELECT min(id) FROM calls WHERE response IS NOT NULL GROUP BY key)")
    op.execute("UPDATE calls SET cost_usd = 0 WHERE cost_usd IS NULL")
    op.alter_column('calls', 'cost_usd', existing_type=sa.Float(), nullable=False)
    op.alter_column('calls', 'response', existing_type=postgresql.JSONB(astext_type=sa.Text()), nullable=False)
    op.drop_index(op.f('ix_calls_key'), table_name='calls')
    op.drop_constraint('pk_calls', 'calls')
    op.drop_column('calls', 'id')
    op.create_primary_key('pk_calls', 'calls', ['key'])
