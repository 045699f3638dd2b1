"""The shell around a stage: logs, decorator, launcher."""
