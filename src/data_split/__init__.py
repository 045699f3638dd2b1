"""Split rows into train and test, and check the data."""
