"""Training of a segmenter on virtual wells, and its export as a bundle."""
