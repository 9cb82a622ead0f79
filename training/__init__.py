"""Training and exporting encoders; the only package that knows torch."""
