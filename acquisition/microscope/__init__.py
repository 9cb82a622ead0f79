"""Well images from a microscope that SpheroRank drives itself."""
