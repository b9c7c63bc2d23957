"""Tallies of verdicts, votes, and what the pages show of a cluster and its work.

What is odd about answers is counted once, too, so that the indexes for counting it go.
"""

import hashlib
from collections import defaultdict
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COUNT = """
INSERT INTO tallies (benchmark, asking, judging, run, task_id, completions, passed)
SELECT c.benchmark, c.asking, v.judging, c.run, c.task_id, count(*),
       sum(CASE WHEN v.outcome = 'passed' THEN 1 ELSE 0 END)
FROM completions c JOIN verdicts v ON v.completion = c.id
WHERE v.outcome <> 'sandbox_error'
GROUP BY c.benchmark, c.asking, v.judging, c.run, c.task_id
"""

COUNT_ANSWERS = """
SELECT c.run, c.benchmark, c.asking, v.judging, count(*) AS answers,
       sum(CASE WHEN trim(c.text, ' \t\r\n') = '' THEN 1 ELSE 0 END) AS blank,
       sum(CASE WHEN c.finish = 'length' THEN 1 ELSE 0 END) AS cut,
       sum(CASE WHEN v.extracted THEN 0 WHEN v.extracted IS NULL THEN 0 ELSE 1 END)
           AS without_program
FROM completions c JOIN verdicts v ON v.completion = c.id
GROUP BY c.run, c.benchmark, c.asking, v.judging
"""
FIRST_ANSWERS = "SELECT run, benchmark, asking, task_id, text FROM completions WHERE position = 0"
ASKED = ["benchmark", "asking", "run"]
OF_COMPLETIONS = {
    "ix_completions_first": ([*ASKED, "task_id"], "position = 0"),
    "ix_completions_blank": (ASKED, "trim(text, ' \t\r\n') = ''"),
    "ix_completions_cut": (ASKED, "finish = 'length'"),
}
WITHOUT_PROGRAM = "ix_verdicts_without_program"


def _fill_answered(answered: sa.Table) -> None:
    """Count the answers of an older ledger; their texts are read a thousand at a time."""
    connection = op.get_bind()
    first: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for *key, task_id, text in connection.execute(
        sa.text(FIRST_ANSWERS), execution_options={"yield_per": 1000}
    ):
        first[tuple(key)][task_id] = hashlib.sha256(text.encode()).hexdigest()[:8]
    rows: list[dict[str, Any]] = [
        row._asdict() | {"first": first[row.run, row.benchmark, row.asking]}
        for row in connection.execute(sa.text(COUNT_ANSWERS))
    ]
    op.bulk_insert(answered, rows)


def _moment(name: str, *, optional: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=optional)


def _number(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Float(precision=53), nullable=False)


def upgrade() -> None:
    op.create_table(
        "tallies",
        sa.Column("benchmark", sa.String(length=100), nullable=False),
        sa.Column("asking", sa.String(length=12), nullable=False),
        sa.Column("judging", sa.String(length=12), nullable=False),
        sa.Column("run", sa.String(length=12), nullable=False),
        sa.Column("task_id", sa.String(length=200), nullable=False),
        sa.Column("completions", sa.Integer(), nullable=False),
        sa.Column("passed", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["asking"], ["contracts.id"]),
        sa.ForeignKeyConstraint(["judging"], ["contracts.id"]),
        sa.ForeignKeyConstraint(["run"], ["runs.id"]),
        sa.PrimaryKeyConstraint("benchmark", "asking", "judging", "run", "task_id"),
    )
    op.create_table(
        "votes",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("run_a", sa.String(length=12), nullable=False),
        sa.Column("run_b", sa.String(length=12), nullable=False),
        sa.Column("choice", sa.String(length=10), nullable=False),
        sa.Column("blind", sa.Boolean(), nullable=False),
        sa.Column("instruction", sa.Text(), nullable=False),
        sa.Column("answer_a", sa.Text(), nullable=False),
        sa.Column("answer_b", sa.Text(), nullable=False),
        sa.Column("voter", sa.String(length=200), nullable=False),
        _moment("recorded_at"),
        sa.ForeignKeyConstraint(["run_a"], ["runs.id"]),
        sa.ForeignKeyConstraint(["run_b"], ["runs.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_votes_run_a", "votes", ["run_a"])
    op.create_index("ix_votes_run_b", "votes", ["run_b"])
    op.create_table(
        "stops",
        sa.Column("run", sa.String(length=12), nullable=False),
        sa.Column("asked_by", sa.String(length=200), nullable=False),
        _moment("at"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"]),
        sa.PrimaryKeyConstraint("run"),
    )
    op.create_table(
        "drivers",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("experiment", sa.String(length=200), nullable=False),
        sa.Column("host", sa.String(length=200), nullable=False),
        sa.Column("process", sa.Integer(), nullable=False),
        sa.Column("cluster", sa.String(length=200), nullable=False),
        sa.Column("dashboard", sa.Text(), nullable=False),
        _moment("started_at"),
        _moment("at"),
        _moment("ended_at", optional=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "nodes",
        sa.Column("cluster", sa.String(length=200), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("alive", sa.Boolean(), nullable=False),
        _number("cpus"),
        _number("cpus_used"),
        _number("gpus"),
        _number("gpus_used"),
        sa.Column("gpu_kind", sa.String(length=100), nullable=False),
        sa.Column("memory", sa.BigInteger(), nullable=False),
        sa.Column("memory_used", sa.BigInteger(), nullable=True),
        _moment("at"),
        sa.PrimaryKeyConstraint("cluster", "id"),
    )
    op.create_table(
        "stages",
        sa.Column("run", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("of", sa.Integer(), nullable=False),
        sa.Column("found", sa.Integer(), nullable=False),
        sa.Column("workers", sa.Integer(), nullable=False),
        _moment("started_at"),
        _moment("at"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"]),
        sa.PrimaryKeyConstraint("run", "name"),
    )
    op.execute(COUNT)
    answered = op.create_table(
        "answered",
        sa.Column("benchmark", sa.String(length=100), nullable=False),
        sa.Column("asking", sa.String(length=12), nullable=False),
        sa.Column("run", sa.String(length=12), nullable=False),
        sa.Column("judging", sa.String(length=12), nullable=False),
        sa.Column("answers", sa.Integer(), nullable=False),
        sa.Column("blank", sa.Integer(), nullable=False),
        sa.Column("cut", sa.Integer(), nullable=False),
        sa.Column("without_program", sa.Integer(), nullable=False),
        sa.Column("first", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["asking"], ["contracts.id"]),
        sa.ForeignKeyConstraint(["judging"], ["contracts.id"]),
        sa.ForeignKeyConstraint(["run"], ["runs.id"]),
        sa.PrimaryKeyConstraint("benchmark", "asking", "run", "judging"),
    )
    _fill_answered(answered)
    op.drop_index(WITHOUT_PROGRAM, "verdicts")
    for name in OF_COMPLETIONS:
        op.drop_index(name, "completions")


def downgrade() -> None:
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
    op.drop_table("answered")
    for name in ("stages", "nodes", "drivers", "stops", "votes", "tallies"):
        op.drop_table(name)
