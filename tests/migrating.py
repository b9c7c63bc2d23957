"""Bringing a ledger to a stated version, forwards or back."""

from alembic import command
from alembic.config import Config

from database.upgrading import MIGRATIONS


def alembic(engine, verb, revision):
    """`verb` is upgrade or downgrade."""
    settings = Config()
    settings.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        settings.attributes["connection"] = connection
        getattr(command, verb)(settings, revision)
