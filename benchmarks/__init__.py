"""What it costs, beside the floor."""
