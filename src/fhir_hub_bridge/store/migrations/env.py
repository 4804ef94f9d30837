"""Runs migrations on the connection it is handed; the caller owns the transaction."""

from alembic import context

from fhir_hub_bridge.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,
)
context.run_migrations()
