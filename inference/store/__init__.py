"""Everything that survives a restart: SQLite by default, PostgreSQL for a site with several services."""
