"""Prediction of the percentage of deterioration, calibrated on plates with a viability assay."""
