"""What crosses a seam: the words that every other package speaks."""
