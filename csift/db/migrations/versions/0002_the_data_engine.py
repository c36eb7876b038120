"""The data engine: what was read from files, ingests, rejections; records of the release before in their new shape."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0002'
down_revision = '0001'


def upgrade() -> None:
    op.create_table('ingests',
    sa.Column('project', sa.String(), nullable=False),
    sa.Column('snapshot_id', sa.String(), nullable=False),
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('record', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_ingests'))
    )
    op.create_index(op.f('ix_ingests_project'), 'ingests', ['project'], unique=False)
    op.create_index(op.f('ix_ingests_snapshot_id'), 'ingests', ['snapshot_id'], unique=False)
    op.create_table('files',
    sa.Column('key', sa.String(), nullable=False),
    sa.Column('record', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('read_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('key', name=op.f('pk_files'))
    )
    op.create_table('texts',
    sa.Column('sha256', sa.String(), nullable=False),
    sa.Column('text', sa.String(), nullable=False),
    sa.PrimaryKeyConstraint('sha256', name=op.f('pk_texts'))
    )
    op.create_table('rejections',
    sa.Column('dataset_id', sa.String(), nullable=False),
    sa.Column('position', sa.Integer(), nullable=False),
    sa.Column('reason', sa.String(), nullable=False),
    sa.Column('record', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.ForeignKeyConstraint(['dataset_id'], ['datasets.id'], name=op.f('fk_rejections_dataset_id_datasets')),
    sa.PrimaryKeyConstraint('dataset_id', 'position', name=op.f('pk_rejections'))
    )
    op.execute("""UPDATE examples SET record = record || '{"style": "factoid", "gold_chunk_ids": []}' WHERE NOT record ? 'style'""")
    op.execute("""UPDATE datasets SET record = jsonb_set(record, '{synthesis,teacher}', '""')
        || '{"preference_ids": [], "replayed": 0, "documents": {}}' WHERE NOT record ? 'preference_ids'""")


def downgrade() -> None:
    op.execute("UPDATE datasets SET record = (record - 'preference_ids' - 'replayed' - 'documents') #- '{synthesis,teacher}'")
    op.execute("UPDATE examples SET record = record - 'style' - 'gold_chunk_ids'")
    op.drop_table('rejections')
    op.drop_table('texts')
    op.drop_table('files')
    op.drop_index(op.f('ix_ingests_snapshot_id'), table_name='ingests')
    op.drop_index(op.f('ix_ingests_project'), table_name='ingests')
    op.drop_table('ingests')
