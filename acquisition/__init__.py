"""From the world to a good well image."""
