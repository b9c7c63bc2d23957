"""Tallies of verdicts, votes, and what the pages show of a cluster and its work."""

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
        sa.Column("workers", sa.Integer(), nullable=False),
        _moment("started_at"),
        _moment("at"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"]),
        sa.PrimaryKeyConstraint("run", "name"),
    )
    op.execute(COUNT)


def downgrade() -> None:
    for name in ("stages", "nodes", "drivers", "stops", "votes", "tallies"):
        op.drop_table(name)
