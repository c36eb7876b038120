"""What models can do outside of their domain, before and after training."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0006'
down_revision = '0005'


def upgrade() -> None:
    op.create_table('general_scores',
    sa.Column('general_id', sa.String(), nullable=False),
    sa.Column('base_revision', sa.String(), nullable=False),
    sa.Column('adapter_id', sa.String(), nullable=True),
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('record', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_general_scores'))
    )
    op.create_index(op.f('ix_general_scores_adapter_id'), 'general_scores', ['adapter_id'], unique=False)
    op.create_table('retentions',
    sa.Column('before_system_id', sa.String(), nullable=False),
    sa.Column('after_system_id', sa.String(), nullable=False),
    sa.Column('low', sa.Float(), nullable=False),
    sa.Column('high', sa.Float(), nullable=False),
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('record', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_retentions'))
    )
    op.create_index(op.f('ix_retentions_after_system_id'), 'retentions', ['after_system_id'], unique=False)


def downgrade() -> None:
    op.drop_index(op.f('ix_retentions_after_system_id'), table_name='retentions')
    op.drop_table('retentions')
    op.drop_index(op.f('ix_general_scores_adapter_id'), table_name='general_scores')
    op.drop_table('general_scores')
