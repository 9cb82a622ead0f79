"""Well images, plate maps and assays from the files that a robot writes into a folder."""
