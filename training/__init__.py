"""Training and evaluation of encoders, forecasters, segmenters and stains: the only user of torch."""
