"""Migrations of the tables, one module for each change."""
