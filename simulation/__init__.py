"""Virtual plates: planning, tissue, optics, microscope and robot."""
