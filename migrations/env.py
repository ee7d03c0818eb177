"""Runs the revisions in the transaction that `reconciler.audit.schema.upgrade` has begun, or writes them as SQL."""

from alembic import context

from reconciler.audit.tables import Base

if context.is_offline_mode():
    # Any style but the driver's own, which would double every percent sign.
    style = {"paramstyle": "named"}
    context.configure(dialect_name="postgresql", dialect_opts=style, literal_binds=True, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,
    )
    context.run_migrations()
