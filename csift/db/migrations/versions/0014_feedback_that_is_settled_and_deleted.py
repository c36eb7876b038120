"""When and of which served answer something was said, disputes, a critic's grades, what rows were made of, deletions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0014'
down_revision = '0013'


def upgrade() -> None:
    op.add_column('feedback', sa.Column('said_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False))
    op.add_column('feedback', sa.Column('answer_ids', sa.ARRAY(sa.String()), server_default='{}', nullable=False))
    op.add_column('feedback', sa.Column('key_id', sa.String(), nullable=True))
    op.execute('UPDATE feedback SET said_at = created_at')
    op.create_table('settlements',
    sa.Column('project', sa.String(), nullable=False),
    sa.Column('dispute_id', sa.String(), nullable=False),
    sa.Column('verdict', sa.String(), nullable=False),
    sa.Column('settled_by', sa.String(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('project', 'dispute_id', name=op.f('pk_settlements'))
    )
    op.create_table('critiques',
    sa.Column('answer_id', sa.String(), nullable=False),
    sa.Column('critic_id', sa.String(), nullable=False),
    sa.Column('project', sa.String(), nullable=False),
    sa.Column('value', sa.Float(), nullable=False),
    sa.Column('correct', sa.Boolean(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('answer_id', 'critic_id', name=op.f('pk_critiques'))
    )
    op.create_index(op.f('ix_critiques_project'), 'critiques', ['project'], unique=False)
    op.create_table('origins',
    sa.Column('row_id', sa.String(), nullable=False),
    sa.Column('feedback_id', sa.String(), nullable=False),
    sa.PrimaryKeyConstraint('row_id', 'feedback_id', name=op.f('pk_origins'))
    )
    op.create_index(op.f('ix_origins_feedback_id'), 'origins', ['feedback_id'], unique=False)
    for name in ('scored_answers', 'deletions'):
        op.create_table(name,
        sa.Column('id', sa.String(), nullable=False),
        sa.Column('record', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f(f'pk_{name}'))
        )
    op.add_column('deletions', sa.Column('project', sa.String(), nullable=False))
    op.create_index(op.f('ix_deletions_project'), 'deletions', ['project'], unique=False)


def downgrade() -> None:
    # Rankings and scores are of this revision on.
    op.execute("DELETE FROM feedback WHERE record ? 'answers'")
    op.execute("UPDATE rated_answers SET record = record - 'source'")
    op.execute("UPDATE datasets SET record = record - 'score_ids'")
    op.drop_table('deletions')
    op.drop_table('scored_answers')
    op.drop_table('origins')
    op.drop_table('critiques')
    op.drop_table('settlements')
    op.drop_column('feedback', 'key_id')
    op.drop_column('feedback', 'answer_ids')
    op.drop_column('feedback', 'said_at')
