"""Runs the revisions in the transaction that `reconciler.audit.schema.upgrade` has begun."""

from alembic import context

from reconciler.audit.tables import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transactional_ddl=True,
)
context.run_migrations()
