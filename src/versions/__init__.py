"""Versions: publish, restore, compare, reproduce, and trace the lineage of a model or a file."""
