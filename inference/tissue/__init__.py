"""Segmentation and measurement of the tissue in a well image."""
