"""Check and decode the pixels of image files."""
