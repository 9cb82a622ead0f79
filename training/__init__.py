"""Training and evaluation of encoders, forecasters and segmenters: the only user of torch."""
