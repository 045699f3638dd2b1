"""What the pipeline costs, beside the floor: one process, the same functions, no DVC."""
