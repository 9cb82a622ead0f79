"""Composition of the service from its configuration; the only package that names adapters."""
