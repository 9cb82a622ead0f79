"""Commands that print the figures quoted in README and docs: ``python -m benchmarks.NAME``."""
