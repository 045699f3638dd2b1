"""Register models in MLflow, check them, and choose which one is served."""
