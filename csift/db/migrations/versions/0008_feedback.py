"""What people said of answers, and what datasets take of it. The table of 0001 was a draft that nothing wrote to."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0008'
down_revision = '0007'


def upgrade() -> None:
    op.drop_index('ix_feedback_project', table_name='feedback')
    op.drop_table('feedback')
    op.create_table('feedback',
    sa.Column('project', sa.String(), nullable=False),
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('rater', sa.String(), nullable=True),
    sa.Column('record', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('project', 'id', name=op.f('pk_feedback'))
    )
    op.create_index(op.f('ix_feedback_rater'), 'feedback', ['rater'], unique=False)
    op.create_table('rated_answers',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('record', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_rated_answers'))
    )
    op.execute("""UPDATE datasets SET record = record || '{"rating_ids": []}'""")


def downgrade() -> None:
    op.execute("UPDATE datasets SET record = record - 'rating_ids'")
    op.drop_table('rated_answers')
    op.drop_index(op.f('ix_feedback_rater'), table_name='feedback')
    op.drop_table('feedback')
    op.create_table('feedback',
    sa.Column('project', sa.String(), nullable=False),
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('record', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_feedback'))
    )
    op.create_index('ix_feedback_project', 'feedback', ['project'], unique=False)
