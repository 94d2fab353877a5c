"""Alembic's entry: run the revisions on the connection that sql.schema.migrate opened and locked."""

from alembic import context

from sql.schema import VERSION_TABLE, fingerprint, head

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    missing = context.get_context().get_current_revision() != head()
    context.run_migrations()
    if missing:  # of a database that has all of them it is to be checked, not written anew
        context.get_bind().exec_driver_sql(f"comment on table {VERSION_TABLE} is '{fingerprint()}'")
