"""Virtual plates, optics, robot and microscope: everything that stands in for a real laboratory."""
