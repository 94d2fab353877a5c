"""Alembic's entry: run the revisions on the connection that sql.schema.migrate opened and locked."""

from alembic import context

from sql.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
