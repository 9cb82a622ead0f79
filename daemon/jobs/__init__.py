"""Work of single commands that ends by itself: start check, demonstrations, tables, rankings."""
