"""Train and test rows, and checks for what would make a score misleading."""
