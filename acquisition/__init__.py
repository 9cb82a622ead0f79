"""From an instrument to a well image."""
