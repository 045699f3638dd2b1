"""From the source to a table whose columns are known."""
