"""Features computed row by row, at training and at prediction alike."""
