"""Load the table of a source, and infer and check its columns."""
