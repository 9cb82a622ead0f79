"""Data models that all packages share: well images, plate maps, rankings, messages and errors."""
