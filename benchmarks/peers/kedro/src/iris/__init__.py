"""The five steps as Kedro nodes."""
