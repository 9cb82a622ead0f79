"""Seeds of the virtual plates that may be used for training; this module loads nothing else."""

FIRST_TRAINING_SEED = 100_000
"""Smallest seed of a virtual plate for training; smaller ones are for tests and benchmarks."""
