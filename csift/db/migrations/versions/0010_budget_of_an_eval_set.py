"""Decisions spend the budget of an eval set's life. Those of the rule before, which had no such budget, are kept apart."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0010'
down_revision = '0009'


def upgrade() -> None:
    op.execute('ALTER TABLE decisions RENAME TO decisions_by_night')
    op.execute('ALTER INDEX pk_decisions RENAME TO pk_decisions_by_night')
    op.execute('ALTER INDEX ix_decisions_project RENAME TO ix_decisions_by_night_project')
    op.execute('UPDATE cycles SET decision_id = NULL')
    op.create_table('decisions',
    sa.Column('project', sa.String(), nullable=False),
    sa.Column('life', sa.Integer(), nullable=False),
    sa.Column('conclusive', sa.Boolean(), nullable=False),
    sa.Column('verdict', sa.String(), nullable=False),
    sa.Column('low', sa.Float(), nullable=False),
    sa.Column('high', sa.Float(), nullable=False),
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('record', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_decisions'))
    )
    op.create_index(op.f('ix_decisions_project'), 'decisions', ['project'], unique=False)
    op.execute("""UPDATE evalsets SET record = record || '{"life": 1}'""")
    op.drop_constraint(op.f('uq_eval_reports_system_id'), 'eval_reports')


def downgrade() -> None:
    op.create_unique_constraint(op.f('uq_eval_reports_system_id'), 'eval_reports', ['system_id', 'evalset_id', 'judge_id'])
    op.execute("UPDATE evalsets SET record = record - 'life'")
    op.drop_index(op.f('ix_decisions_project'), table_name='decisions')
    op.drop_table('decisions')
    op.execute('UPDATE cycles SET decision_id = NULL')
    op.execute('ALTER TABLE decisions_by_night RENAME TO decisions')
    op.execute('ALTER INDEX pk_decisions_by_night RENAME TO pk_decisions')
    op.execute('ALTER INDEX ix_decisions_by_night_project RENAME TO ix_decisions_project')
