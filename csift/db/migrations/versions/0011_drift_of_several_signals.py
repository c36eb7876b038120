"""A drift report has several signals; one of before had the questions alone, at a level of its own. What a cycle went by is kept in
parts; the fingerprints of before say nothing to those, so the next cycle counts as the first."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0011'
down_revision = '0010'


def upgrade() -> None:
    op.create_table('cycle_inputs',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('record', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_cycle_inputs'))
    )
    op.execute('UPDATE cycles SET fingerprint = NULL')
    op.create_table('monitor_reports',
    sa.Column('project', sa.String(), nullable=False),
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('record', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_monitor_reports'))
    )
    op.create_index(op.f('ix_monitor_reports_project'), 'monitor_reports', ['project'], unique=False)
    op.execute("""
        UPDATE drift_reports SET record = record - '{statistic,p_value,alpha,permutations,units,drifted}'::text[] || jsonb_build_object(
            'false_alarms', record->'alpha',
            'unmeasured', jsonb_build_object('retrieval', 'not looked at then', 'answers', 'not looked at then'),
            'signals', jsonb_build_array(jsonb_build_object(
                'name', 'questions', 'statistic', record->'statistic', 'p_value', record->'p_value', 'level', record->'alpha',
                'permutations', record->'permutations', 'units', record->'units', 'figures', jsonb_build_array())))
    """)


def downgrade() -> None:
    op.execute('UPDATE cycles SET fingerprint = NULL')
    op.drop_table('cycle_inputs')
    op.drop_index(op.f('ix_monitor_reports_project'), table_name='monitor_reports')
    op.drop_table('monitor_reports')
    op.execute("""
        UPDATE drift_reports SET record = record - '{false_alarms,unmeasured,signals}'::text[] || jsonb_build_object(
            'statistic', record#>'{signals,0,statistic}', 'p_value', record#>'{signals,0,p_value}',
            'alpha', record#>'{signals,0,level}', 'permutations', record#>'{signals,0,permutations}',
            'units', record#>'{signals,0,units}', 'drifted', to_jsonb(drifted))
    """)
