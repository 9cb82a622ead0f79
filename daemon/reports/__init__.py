"""Files of rankings: JSON, CSV and an HTML report each."""
