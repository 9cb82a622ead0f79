"""Parts of the hard cases: bodies, other objects, scenes, light and camera."""
