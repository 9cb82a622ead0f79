"""Crops of well images for training, their augmentation, and the batches made of them."""
