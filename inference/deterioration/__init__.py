"""Percent of deterioration, predicted from plates with a viability assay."""
