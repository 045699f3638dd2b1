"""Set up `params.yaml` for a user's own table."""
