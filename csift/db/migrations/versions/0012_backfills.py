"""Partitions of backfills, what they taught, and which calls were made for them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0012'
down_revision = '0011'


def upgrade() -> None:
    for name in ('backfills', 'partitions'):
        op.create_table(name,
        sa.Column('project', sa.String(), nullable=False),
        sa.Column('id', sa.String(), nullable=False),
        sa.Column('record', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f(f'pk_{name}'))
        )
        op.create_index(op.f(f'ix_{name}_project'), name, ['project'], unique=False)
    op.create_table('partition_examples',
    sa.Column('partition_id', sa.String(), nullable=False),
    sa.Column('position', sa.Integer(), nullable=False),
    sa.Column('record', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.ForeignKeyConstraint(['partition_id'], ['partitions.id'], name=op.f('fk_partition_examples_partition_id')),
    sa.PrimaryKeyConstraint('partition_id', 'position', name=op.f('pk_partition_examples'))
    )
    op.add_column('calls', sa.Column('partition_id', sa.String(), nullable=True))
    op.create_index(op.f('ix_calls_partition_id'), 'calls', ['partition_id'], unique=False)


def downgrade() -> None:
    op.drop_index(op.f('ix_calls_partition_id'), table_name='calls')
    op.drop_column('calls', 'partition_id')
    op.drop_table('partition_examples')
    for name in ('partitions', 'backfills'):
        op.drop_index(op.f(f'ix_{name}_project'), table_name=name)
        op.drop_table(name)
