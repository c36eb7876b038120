"""Models that Amazon Bedrock made, and losses without a learning rate, which it does not tell."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0007'
down_revision = '0006'


def upgrade() -> None:
    op.create_table('custom_models',
    sa.Column('arn', sa.String(), nullable=False),
    sa.Column('dataset_id', sa.String(), nullable=False),
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('record', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['dataset_id'], ['datasets.id'], name=op.f('fk_custom_models_dataset_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_custom_models')),
    sa.UniqueConstraint('arn', name=op.f('uq_custom_models_arn'))
    )
    op.alter_column('losses', 'learning_rate', existing_type=sa.Float(), nullable=True)


def downgrade() -> None:
    op.execute('DELETE FROM losses WHERE learning_rate IS NULL')
    op.alter_column('losses', 'learning_rate', existing_type=sa.Float(), nullable=False)
    op.drop_table('custom_models')
