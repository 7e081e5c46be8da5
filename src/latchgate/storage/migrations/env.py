"""Alembic's entry point: migrate over the connection that the store hands in."""

from __future__ import annotations

from alembic import context

from latchgate.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
