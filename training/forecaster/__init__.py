"""Training of a forecaster of untreated wells, and its export as a bundle."""
