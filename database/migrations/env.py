"""Alembic's entry: migrates the connection that `database.session` hands over."""

from alembic import context

from database import live, schema
from database.table import Row

_TABLES = live, schema  # importing them is what names them to the metadata
connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Row.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
