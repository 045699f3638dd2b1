"""Record in MLflow what git and DVC know."""
