"""From a good well image to a ranking."""
