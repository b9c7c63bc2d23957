"""Claims on runs, wishes to try a run again, and what supervises a driver."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "claims",
        sa.Column("run", sa.String(length=12), nullable=False),
        sa.Column("driver", sa.String(length=32), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["run"], ["runs.id"]),
        sa.PrimaryKeyConstraint("run"),
    )
    op.create_index("ix_claims_driver", "claims", ["driver"])
    op.create_table(
        "retries",
        sa.Column("run", sa.String(length=12), nullable=False),
        sa.Column("asked_by", sa.String(length=200), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.id"]),
        sa.PrimaryKeyConstraint("run"),
    )
    op.add_column(
        "drivers", sa.Column("submission", sa.String(length=200), nullable=False, server_default="")
    )
    op.add_column("drivers", sa.Column("attempt", sa.Integer(), nullable=False, server_default="1"))


def downgrade() -> None:
    op.drop_column("drivers", "attempt")
    op.drop_column("drivers", "submission")
    op.drop_table("retries")
    op.drop_table("claims")
