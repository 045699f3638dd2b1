"""MLflow as a projection of git and DVC."""
