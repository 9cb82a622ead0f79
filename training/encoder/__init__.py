"""Training of an encoder on well images without effect labels, and its export as a bundle."""
