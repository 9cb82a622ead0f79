"""Alembic migrations of a database from any earlier version to this version."""

HEAD = "0017"
"""Revision of the tables of this version; the newest file in ``versions`` has it."""
