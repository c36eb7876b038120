"""Adapters of teachers too; they name their artifact by its key in the store."""

from alembic import op

revision = '0005'
down_revision = '0004'


def upgrade() -> None:
    op.drop_constraint(op.f('fk_adapters_dataset_id'), 'adapters', type_='foreignkey')
    op.create_index(op.f('ix_adapters_dataset_id'), 'adapters', ['dataset_id'], unique=False)
    op.execute("UPDATE adapters SET record = record - 'uri' || jsonb_build_object('artifact', 'adapters/' || id)")
    # Which adapters the earlier stages gave was not kept; their losses are not shown.
    op.execute(
        "UPDATE adapters SET record = record || jsonb_build_object('stage_ids', (SELECT jsonb_agg(CASE WHEN place = "
        "jsonb_array_length(record->'stages') THEN id ELSE '' END ORDER BY place) "
        "FROM generate_series(1, jsonb_array_length(record->'stages')) AS place))"
    )


def downgrade() -> None:
    op.execute("UPDATE adapters SET record = record - 'artifact' - 'stage_ids' || jsonb_build_object('uri', record->>'artifact')")
    op.drop_index(op.f('ix_adapters_dataset_id'), table_name='adapters')
    op.create_foreign_key(op.f('fk_adapters_dataset_id'), 'adapters', 'datasets', ['dataset_id'], ['id'])
