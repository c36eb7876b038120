"""Challengers that are tried on the traffic, and what they would have said."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0015'
down_revision = '0014'


def upgrade() -> None:
    op.create_table('trials',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('project', sa.String(), nullable=False),
    sa.Column('kind', sa.String(), nullable=False),
    sa.Column('system_id', sa.String(), nullable=False),
    sa.Column('champion_id', sa.String(), nullable=False),
    sa.Column('share', sa.Float(), nullable=False),
    sa.Column('began_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('reason', sa.String(), nullable=False),
    sa.Column('dropped', sa.Integer(), nullable=False),
    sa.Column('failed', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_trials'))
    )
    op.create_index(op.f('ix_trials_project'), 'trials', ['project'], unique=False)
    op.create_index('uq_trials_going_on', 'trials', ['project'], unique=True, postgresql_where=sa.text('ended_at IS NULL'))
    op.create_table('shadow_answers',
    sa.Column('answer_id', sa.String(), nullable=False),
    sa.Column('project', sa.String(), nullable=False),
    sa.Column('system_id', sa.String(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('record', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.PrimaryKeyConstraint('answer_id', name=op.f('pk_shadow_answers'))
    )
    op.create_index('ix_shadow_answers_project_at', 'shadow_answers', ['project', 'at'], unique=False)


def downgrade() -> None:
    op.drop_table('shadow_answers')
    op.drop_table('trials')
