"""Work on whole stores: check, backup, restore, size, deletion of old data, and copy."""
