"""Work that a command starts and that ends by itself: check, demo, tables, offline rankings."""
