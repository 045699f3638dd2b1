"""Train and test rows, and checks for what would make the score misleading."""
