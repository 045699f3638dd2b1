"""Set `params.yaml` up for a user's own table."""
