"""The database: SQLite by default, PostgreSQL where several services share one."""
