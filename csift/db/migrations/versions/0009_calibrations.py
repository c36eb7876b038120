"""How well judges agree with labels."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0009'
down_revision = '0008'


def upgrade() -> None:
    op.create_table('judge_calibrations',
    sa.Column('judge_id', sa.String(), nullable=False),
    sa.Column('judge_name', sa.String(), nullable=False),
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('record', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_judge_calibrations'))
    )
    op.create_index(op.f('ix_judge_calibrations_judge_id'), 'judge_calibrations', ['judge_id'], unique=False)


def downgrade() -> None:
    op.drop_index(op.f('ix_judge_calibrations_judge_id'), table_name='judge_calibrations')
    op.drop_table('judge_calibrations')
