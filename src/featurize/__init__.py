"""Features computed row by row."""
