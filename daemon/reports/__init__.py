"""Rankings as files: JSON, CSV and one HTML page each."""
