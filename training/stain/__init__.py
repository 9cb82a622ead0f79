"""Training of a predicted stain on virtual wells with known dead cells, and its export."""
