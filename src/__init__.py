"""A DVC and MLflow pipeline: from a table to a model, its metrics and its plots."""
