"""What reviewers say of pairs of answers, and the questions that they label."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0016'
down_revision = '0015'


def upgrade() -> None:
    op.create_table('review_votes',
    sa.Column('project', sa.String(), nullable=False),
    sa.Column('round_id', sa.String(), nullable=False),
    sa.Column('item_id', sa.String(), nullable=False),
    sa.Column('voter', sa.String(), nullable=False),
    sa.Column('record', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('project', 'round_id', 'item_id', 'voter', name=op.f('pk_review_votes'))
    )
    op.create_table('written_labels',
    sa.Column('project', sa.String(), nullable=False),
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('record', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('project', 'id', name=op.f('pk_written_labels'))
    )


def downgrade() -> None:
    op.drop_table('written_labels')
    op.drop_table('review_votes')
