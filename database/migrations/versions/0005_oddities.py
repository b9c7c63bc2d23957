"""Indexes over the few answers that are odd, so that a page counts them without reading all."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
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
