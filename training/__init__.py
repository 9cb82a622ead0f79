"""Training and evaluation of encoders, forecasters, segmenters, stains: the only user of torch."""
