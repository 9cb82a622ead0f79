"""Acquire well images from an instrument: a drop folder or a microscope."""
