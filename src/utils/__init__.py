"""Run stages: the decorator, the launcher, logs."""
