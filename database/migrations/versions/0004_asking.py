"""What asking cost, what others published, when problems and models appeared, how numbers came.

And indexes over the few answers that are odd, so that a page counts them without reading all.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ASKED = ["benchmark", "asking", "run"]
OF_COMPLETIONS = {
    "ix_completions_first": ([*ASKED, "task_id"], "position = 0"),
    "ix_completions_blank": (ASKED, "trim(text, ' \t\r\n') = ''"),
    "ix_completions_cut": (ASKED, "finish = 'length'"),
}
WITHOUT_PROGRAM = "ix_verdicts_without_program"


def upgrade() -> None:
    op.create_table(
        "generations",
        sa.Column("run", sa.String(length=12), nullable=False),
        sa.Column("benchmark", sa.String(length=100), nullable=False),
        sa.Column("asking", sa.String(length=12), nullable=False),
        sa.Column("device", sa.String(length=100), nullable=False),
        sa.Column("seconds", sa.Float(precision=53), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.id"]),
        sa.ForeignKeyConstraint(["asking"], ["contracts.id"]),
        sa.PrimaryKeyConstraint("run", "benchmark", "asking"),
    )
    op.create_table(
        "published_verdicts",
        sa.Column("completion", sa.String(length=20), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["completion"], ["completions.id"]),
        sa.PrimaryKeyConstraint("completion"),
    )
    op.create_table(
        "published_scores",
        sa.Column("run", sa.String(length=12), nullable=False),
        sa.Column("benchmark", sa.String(length=100), nullable=False),
        sa.Column("metric", sa.String(length=20), nullable=False),
        sa.Column("value", sa.Float(precision=53), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.id"]),
        sa.PrimaryKeyConstraint("run", "benchmark", "metric"),
    )
    op.add_column("runs", sa.Column("released", sa.Date(), nullable=True))
    op.add_column("problems", sa.Column("released", sa.Date(), nullable=True))
    op.add_column("verdicts", sa.Column("extracted", sa.Boolean(), nullable=True))
    op.add_column(
        "scores", sa.Column("method", sa.String(length=100), nullable=False, server_default="")
    )
    for name, (columns, condition) in OF_COMPLETIONS.items():
        where = sa.text(condition)
        op.create_index(name, "completions", columns, sqlite_where=where, postgresql_where=where)
    op.create_index(
        WITHOUT_PROGRAM,
        "verdicts",
        ["judging", "completion"],
        sqlite_where=sa.text("extracted IS 0"),
        postgresql_where=sa.text("extracted IS false"),
    )


def downgrade() -> None:
    op.drop_index(WITHOUT_PROGRAM, "verdicts")
    for name in OF_COMPLETIONS:
        op.drop_index(name, "completions")
    op.drop_column("scores", "method")
    op.drop_column("verdicts", "extracted")
    op.drop_column("problems", "released")
    op.drop_column("runs", "released")
    op.drop_table("published_scores")
    op.drop_table("published_verdicts")
    op.drop_table("generations")
