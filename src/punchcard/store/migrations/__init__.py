"""Alembic migrations: additive first, never edited once released."""
