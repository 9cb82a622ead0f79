"""Alembic migrations of a database from any earlier version to this version."""
