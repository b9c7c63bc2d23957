"""What a step costs, what held-out rows say, and how far a training is."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MEASURED = ("padding", "flops_share", "joules", "held_out_loss")
KNOWN_TRAININGS = """
INSERT INTO trainings (run, of, last_step, at)
SELECT runs.id, checkpoints.steps, MAX(steps.step), COALESCE(runs.finished_at, runs.created_at)
FROM runs JOIN steps ON steps.run = runs.id LEFT JOIN checkpoints ON checkpoints.run = runs.id
GROUP BY runs.id, checkpoints.steps, runs.finished_at, runs.created_at
"""


def upgrade() -> None:
    op.create_table(
        "trainings",
        sa.Column("run", sa.String(length=12), nullable=False),
        sa.Column("of", sa.Integer(), nullable=True),
        sa.Column("last_step", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["run"],
            ["runs.id"],
        ),
        sa.PrimaryKeyConstraint("run"),
    )
    op.execute(KNOWN_TRAININGS)
    for name in MEASURED:
        op.add_column("steps", sa.Column(name, sa.Float(precision=53), nullable=True))
    op.add_column("steps", sa.Column("memory", sa.BigInteger(), nullable=True))
    _resize_kinds(40, 200)


def downgrade() -> None:
    op.execute("DELETE FROM events WHERE LENGTH(kind) > 40")  # cut short, two could become one
    _resize_kinds(200, 40)
    for name in (*MEASURED, "memory"):
        op.drop_column("steps", name)
    op.drop_table("trainings")


def _resize_kinds(old: int, new: int) -> None:
    with op.batch_alter_table("events") as events:
        events.alter_column(
            "kind", existing_type=sa.String(old), type_=sa.String(new), existing_nullable=False
        )
