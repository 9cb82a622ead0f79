"""Well images to train on, and the batches that are made of them."""
