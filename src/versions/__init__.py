"""Versions: publish a tag, restore it, compare two, reproduce a run, trace the lineage of a model or a file."""
