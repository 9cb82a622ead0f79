"""Rankings of treatments, with their statistics and quality checks."""
