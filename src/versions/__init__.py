"""Versions: publish a tag, restore it, compare two, reproduce a run, trace where a model came from."""
