"""Self-supervised training of an encoder, and its export as a bundle."""
