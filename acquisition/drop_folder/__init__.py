"""Read well images, plate maps and assays from a folder that a robot writes files into."""
