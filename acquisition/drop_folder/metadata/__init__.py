"""Read the metadata of TIFF files: one module for each format, combined in ``image_metadata``."""
