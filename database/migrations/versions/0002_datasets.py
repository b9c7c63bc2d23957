"""What was trained on, and which problems of benchmarks it touches."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _datasets()
    _touches()
    op.add_column("runs", sa.Column("dataset_digest", sa.String(length=12), nullable=True))
    op.create_index("ix_runs_dataset_digest", "runs", ["dataset_digest"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_runs_dataset_digest", table_name="runs")
    op.drop_column("runs", "dataset_digest")
    op.drop_table("touches")
    op.drop_table("datasets")


def _datasets() -> None:
    op.create_table(
        "datasets",
        sa.Column("digest", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("licence", sa.Text(), nullable=False),
        sa.Column("rows_in", sa.Integer(), nullable=False),
        sa.Column("rows_out", sa.Integer(), nullable=False),
        sa.Column("duplicates", sa.Integer(), nullable=False),
        sa.Column("contaminated", sa.Integer(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )


def _touches() -> None:
    op.create_table(
        "touches",
        sa.Column("dataset", sa.String(length=12), nullable=False),
        sa.Column("benchmark", sa.String(length=100), nullable=False),
        sa.Column("benchmark_digest", sa.String(length=64), nullable=False),
        sa.Column("task_id", sa.String(length=200), nullable=False),
        sa.Column("method", sa.String(length=20), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("trained_on", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset"],
            ["datasets.digest"],
        ),
        sa.PrimaryKeyConstraint("dataset", "benchmark", "benchmark_digest", "task_id", "method"),
    )
