"""Warm stages: commands that run as forks of one process which has everything imported."""
