"""Training of a sequence model of untreated wells, and its export as a bundle."""
