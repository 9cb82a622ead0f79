"""Simulated laboratories: renderers, growth, optics and effects of drugs, drawn from a seed."""
